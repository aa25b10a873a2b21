"""The processes below a fork server: how they are found, and how they are ended.

It imports nothing of ours, like fork_server.py, which loads it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MARKER = "AWS_LAMBDA_LOG_STREAM_NAME"
"""The variable that tells the processes of one environment from those of another."""


def kill(pid: int) -> None:
    """Send SIGKILL to a process; does nothing when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """Send SIGKILL to a process and to its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    kill(pid)


def has_children() -> bool:
    """Say whether this process has children, dead ones included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def own_children() -> set[int]:
    """Return the process ids of this process's children."""
    pid = os.getpid()
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()))
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN, or no Linux
        return {child for child, parent in _parents().items() if parent == pid}


def _parents() -> dict[int, int]:
    """Return the parent of every process that can be seen; on Linux only."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (process / "stat").read_bytes()
            found[int(process.name)] = int(stat.rpartition(b")")[2].split()[1])
    return found


def descendants() -> set[int]:
    """Return the process ids of all processes below this one."""
    parents = _parents()
    found = new = {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found = found | new
    return found - {os.getpid()}


def marker_of(pid: int) -> str | None:
    """Return the marker among a process's variables, None when it has none that can be read."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{MARKER}=".encode()
    return next((os.fsdecode(v[len(prefix) :]) for v in variables if v.startswith(prefix)), None)

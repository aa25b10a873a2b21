"""The processes below a fork server: how they are tied to it, found and ended.

It imports nothing of ours, like fork_server.py, which loads it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

MARKER = "AWS_LAMBDA_LOG_STREAM_NAME"
"""The variable that tells the processes of one environment from those of another."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Have this process get a signal when its parent ends; on Linux only, raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of what its descendants leave; on Linux only, raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux" and _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


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

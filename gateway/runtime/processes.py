"""The processes of the machine as /proc lists them, and which of them an environment has started.

Where no control group tells, an environment's processes are the first one, its session, its
descendants, and what has its marker among its variables, which a process that daemonised itself
still has. One walk answers for all environments: it passes over what is older than the gateway,
and it reads the variables only of processes that nothing else explains.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

MARKER = "AWS_LAMBDA_LOG_STREAM_NAME"
"""The variable that tells the processes of one environment from all others."""

MARK = f"{MARKER}=".encode()

ENVIRON_BYTES = 1024 * 1024
"""How much of a process's variables is looked at; AWS allows a function 4 KB."""


class Row(NamedTuple):
    """Where a process comes from."""

    parent: int
    session: int


class Table:
    """The processes of the machine as the last walk has seen them."""

    def __init__(self) -> None:
        self._rows: dict[int, Row | None] = {}
        """None for a zombie and for what is older than the gateway."""
        self._owners: dict[int, str] = {}

    def families(self, roots: Mapping[str, int], *, is_fresh: bool) -> dict[str, set[int]]:
        """Return the living processes of each environment, given its marker and its first process:
        0 for one that has been reaped, as its number may be another's by then.

        Blocks for about 3 ms per 100 processes of the machine. What is not fresh takes a tenth:
        it looks only at numbers that were not there before.
        """
        before = {} if is_fresh else self._rows
        pids = _pids()
        self._rows = {pid: before[pid] if pid in before else _row(pid) for pid in pids}
        alive = {pid: row for pid, row in self._rows.items() if row is not None}
        kept = {pid: marker for pid, marker in self._owners.items() if pid in before}
        owners = {pid: kept[pid] for pid in alive.keys() & kept if kept[pid] in roots}
        owners |= _known(alive, roots)
        _adopt_children(alive, owners)
        for pid in alive.keys() - owners.keys() - before.keys():
            marker = _marker(pid)
            if marker and marker in roots:
                owners[pid] = marker
        _adopt_children(alive, owners)
        self._owners = owners
        found: dict[str, set[int]] = {marker: set() for marker in roots}
        for pid, marker in owners.items():
            found[marker].add(pid)
        return found


def families(roots: Mapping[str, int]) -> dict[str, set[int]]:
    """Return the living processes of each environment as `Table.families` does, by a fresh walk."""
    return Table().families(roots, is_fresh=True)


def _known(alive: Mapping[int, Row], roots: Mapping[str, int]) -> dict[int, str]:
    """Return the owner of each first process, and of what is in its session."""
    markers = {pid: marker for marker, pid in roots.items() if pid}  # session 0 is the kernel's
    return {
        pid: markers[root]
        for pid, row in alive.items()
        for root in (row.session, pid)
        if root in markers
    }


def _adopt_children(alive: Mapping[int, Row], owners: dict[int, str]) -> None:
    """Add to each owner the descendants of its processes."""
    while more := {
        pid: owners[row.parent]
        for pid, row in alive.items()
        if pid not in owners and row.parent in owners
    }:
        owners |= more


def _marker(pid: int) -> str:
    """Return the environment's marker that a process has, or nothing."""
    for variable in read(f"/proc/{pid}/environ").split(b"\0"):
        if variable.startswith(MARK):
            return variable[len(MARK) :].decode(errors="replace")
    return ""


def _pids() -> set[int]:
    """Return the numbers of all processes; of none without /proc."""
    return {int(name) for name in _names("/proc") if name.isdigit()}


def _row(pid: int) -> Row | None:
    """Return where a process comes from, unless it is a zombie or older than this one."""
    fields = _status(str(pid))
    is_of_interest = fields and fields[0] not in (b"Z", b"X") and int(fields[19]) >= _own_start()
    return Row(int(fields[1]), int(fields[3])) if is_of_interest else None


def _status(name: str) -> list[bytes]:
    """Return the fields of a process from its state on (proc(5)); its name, in brackets, may hold
    anything: what follows its last bracket counts."""
    return read(f"/proc/{name}/stat").rpartition(b")")[2].split()


@cache
def _own_start() -> int:
    """Return when this process started, in clock ticks since the boot."""
    fields = _status("self")
    return int(fields[19]) if fields else 0


def _names(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


def read(path: str) -> bytes:
    """Return the beginning of a file, nothing if it is not there: a quarter of pathlib's time."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, ENVIRON_BYTES)
    except OSError:
        return b""
    finally:
        os.close(descriptor)

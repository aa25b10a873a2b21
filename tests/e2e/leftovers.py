"""What a server that has ended may have left behind: processes, control groups, files.

Linux only: the test makes itself the parent of processes that have lost theirs, so that none can
hide from it.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from gateway.runtime.confinement import find_abilities
from tests.e2e.serving import DEADLINE_SECONDS

PR_SET_CHILD_SUBREAPER = 36
STEP_SECONDS = 0.01


@contextmanager
def adopting() -> Iterator[Callable[[], list[str]]]:
    """Adopt orphans until the block ends; yields a way to tell which processes are left."""
    library = ctypes.CDLL(None, use_errno=True)
    before = children(os.getpid())
    library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield lambda: [described(pid) for pid in children(os.getpid()) - before if lives(pid)]
    finally:
        library.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children(pid: int) -> set[int]:
    """Return the children of a process; it may end meanwhile, and has none then."""
    found: set[int] = set()
    with suppress(OSError):
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                found |= {int(word) for word in file.read_text().split()}
    return found


def descendants(pid: int) -> set[int]:
    """Return children, their children, and so on."""
    own = children(pid)
    return own.union(*[descendants(child) for child in own])


def lives(pid: int) -> bool:
    """Say whether a child of ours runs; an adopted one that has ended is buried."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            os.waitpid(pid, os.WNOHANG)
    except (OSError, ChildProcessError):
        return False
    return state not in "ZX"


def described(pid: int) -> str:
    """Return a process's number and command."""
    with suppress(OSError):
        return f"{pid} " + Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return str(pid)


abilities = cache(find_abilities)


def control_groups(pid: int) -> list[Path]:
    """Return the control groups that a gateway has made."""
    places = [Path(hierarchy.directory) for hierarchy in abilities().hierarchies]
    return [path for place in places for path in place.glob(f"gateway-{pid}-*")]


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process without what it shares, in MB."""
    resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE") / 1e6


def wait_until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait for a condition that nothing announces; says what is there instead."""
    pause = threading.Event()
    for _ in range(int(DEADLINE_SECONDS / STEP_SECONDS)):
        if condition():
            return
        pause.wait(STEP_SECONDS)
    raise AssertionError(f"waited without success: {what()}")

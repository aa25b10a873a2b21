"""The owner of a control group or a directory: its name says which process made it.

A process id means nothing in another PID namespace, and containers may share directories: so the
namespace is part of the name, and a process of another namespace never counts as dead.
"""

import os
import re
from functools import cache
from pathlib import Path

NAME = re.compile(r"gateway-(?P<pid>\d{1,9})-(?P<namespace>\d+)-\w+")


def own_prefix() -> str:
    """Return how the name of everything begins that this process makes."""
    return f"gateway-{os.getpid()}-{_namespace()}-"


def is_ownerless(name: str) -> bool:
    """Say whether a name is one of ours and the process that made it is dead.

    Ask after the name was read from a directory: then its process was there already, and one with
    the same number that starts later only makes this answer False.
    """
    found = NAME.fullmatch(name)
    return (
        found is not None
        and found["namespace"] == _namespace()
        and not _is_alive(int(found["pid"]))
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def _namespace() -> str:
    """Return the number of this process's PID namespace, 0 without such namespaces."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return "0"

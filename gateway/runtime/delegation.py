"""Hands control groups to a user before root's rights are given up, so that limits still hold.

In each hierarchy this process moves into a group of its own, in which the user may make others.
In version 2 a process may be moved only below a group whose `cgroup.procs` its user may write to,
and a group with processes divides nothing: there the process moves into a leaf of that group
(Documentation/admin-guide/cgroup-v2.rst, "Delegation").
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gateway.runtime.control_groups import Hierarchy
from gateway.runtime.leftovers import sweep_groups
from gateway.runtime.owner import is_ownerless, own_prefix

ENTRANCES = ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks")
"""What the user has to write to, besides the directory."""

OF = "of-"
"""Before the rest of the group's name, so that it is never taken for one that may be killed: the
workers of a dead parent are in it until they have finished."""

LEAF = "gateway"

CONTROLLERS = "+memory +pids"


def delegate(user: int, group: int, hierarchies: Iterable[Hierarchy]) -> None:
    """Move this process into groups that the user may divide; needs root.

    A hierarchy in which that fails limits nothing, which the line at the start says.
    """
    for hierarchy in hierarchies:
        _remove_former(hierarchy.directory)
        base = Path(hierarchy.directory, f"{OF}{own_prefix()}{LEAF}")
        with suppress(OSError):
            inner = _entered(hierarchy, base)
            for directory in (base, inner):
                _give(directory, user, group)


def _remove_former(directory: str) -> None:
    """Remove what dead gateways entered, which their user may not, where nothing is left in it."""
    with suppress(OSError):
        for base in Path(directory).glob(f"{OF}gateway-*"):
            if is_ownerless(base.name.removeprefix(OF)):
                for group in (base / LEAF, base):
                    sweep_groups(str(group))
                    with suppress(OSError):
                        group.rmdir()


def _entered(hierarchy: Hierarchy, base: Path) -> Path:
    """Make a group and enter it; returns the one that this process is in."""
    base.mkdir()
    inner = base
    if hierarchy.version == 2:
        inner = base / LEAF
        inner.mkdir()
    (inner / "cgroup.procs").write_text("0", encoding="ascii")
    if hierarchy.version == 2:
        for directory in (base.parent, base):
            with suppress(OSError):  # it has processes, or no controllers
                (directory / "cgroup.subtree_control").write_text(CONTROLLERS, encoding="ascii")
    return inner


def _give(directory: Path, user: int, group: int) -> None:
    os.chown(directory, user, group)
    for name in ENTRANCES:
        with suppress(FileNotFoundError):
            os.chown(directory / name, user, group)

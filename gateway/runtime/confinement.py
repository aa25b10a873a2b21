"""What this machine can do to confine an environment.

Everything is tried once at the start, with real processes: whether a room of its own can be made,
and which control groups can be made and entered. Where none limits memory, an environment's owner
looks (watch.py).
"""

import marshal
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gateway.runtime.call_filter import program
from gateway.runtime.child import sandbox
from gateway.runtime.control_groups import ControlGroups, Hierarchy, kernel_text
from gateway.runtime.launch import LaunchFailed, MountNamespace, Plan
from gateway.runtime.peers import Sight, find_sight

SANDBOX = sandbox.__file__

BOOT = f"""\
import sys
sys.path.append({str(Path(SANDBOX).parent)!r})
import sandbox, executed
executed.main(sys.argv[1:])
"""
"""Runs executed.py as a module, whose compiled form Python keeps: 5 ms less than as a script."""

TRIAL_MEMORY_BYTES = 64 * 1024 * 1024

USEFUL = frozenset({"memory", "pids"})


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this machine lets this user do."""

    can_unshare: bool = False
    hierarchies: tuple[Hierarchy, ...] = ()
    sight: Sight = Sight.NOTHING
    """What can be known of the processes that speak to a Runtime API."""
    call_filter: str = ""
    """As in Plan."""

    @property
    def limits_memory(self) -> bool:
        """Whether a control group limits memory; else its owner has to look."""
        return any("memory" in hierarchy.controllers for hierarchy in self.hierarchies)

    def __str__(self) -> str:
        room = "own /var/task, /opt, /tmp, /run and /dev"
        places = room if self.can_unshare else "/var/task, /opt and /tmp only in the variables"
        calls = "filtered" if self.call_filter else "not filtered"
        limit = "limited by control group" if self.limits_memory else "looked at every 100 ms"
        return f"isolation: {places}; system calls {calls}; memory {limit}{OPEN_TO[self.sight]}"


OPEN_TO = {
    Sight.PROCESS: "",
    Sight.USER: "; Runtime APIs open to all processes of this user",
    Sight.NOTHING: "; Runtime APIs open to all processes of this machine",
}
"""What is said where an environment's own processes cannot be told from others."""


def find_abilities(keep: tuple[str, ...] = ()) -> Abilities:
    """Try what this machine lets this user do; blocks for about 50 ms.

    `keep` is as in `MountNamespace.keep`: what this interpreter needs.
    """
    if sys.platform != "linux":
        return Abilities()
    limits = find_limits(tuple(control_groups()), lambda hoped: works(hoped, keep))
    return replace(limits, sight=find_sight())


def find_limits(
    hierarchies: tuple[Hierarchy, ...], is_possible: Callable[[Abilities], bool]
) -> Abilities:
    """Try all at once, and each by itself where that fails."""
    hoped = Abilities(
        can_unshare=True, hierarchies=sufficient(hierarchies), call_filter=program().hex()
    )
    if is_possible(hoped):
        return hoped
    return Abilities(
        is_possible(Abilities(can_unshare=True)),
        tuple(one for one in hoped.hierarchies if is_possible(Abilities(hierarchies=(one,)))),
        call_filter=hoped.call_filter
        if is_possible(Abilities(call_filter=hoped.call_filter))
        else "",
    )


def sufficient(hierarchies: tuple[Hierarchy, ...]) -> tuple[Hierarchy, ...]:
    """Leave out what only kills, where others limit all there is to limit.

    To enter a group of version 2 waits for a grace period of the kernel, 5 to 20 ms measured; one
    of version 1 has a quicker entrance, and no process that is forbidden to fork escapes a kill.
    """
    limiting = tuple(one for one in hierarchies if one.controllers)
    limited = frozenset[str]().union(*[one.controllers for one in limiting])
    return limiting if limited >= USEFUL else hierarchies


def works(abilities: Abilities, keep: tuple[str, ...]) -> bool:
    """Say whether an interpreter that does nothing runs, confined like that."""
    groups = ControlGroups(abilities.hierarchies, memory_bytes=TRIAL_MEMORY_BYTES, processes=16)
    try:
        groups.make()
        plan = _trial_plan(groups.directories, keep if abilities.can_unshare else None)
        return _run_trial(replace(plan, call_filter=abilities.call_filter))
    except LaunchFailed:
        return False
    finally:
        groups.remove()


def _trial_plan(groups: tuple[str, ...], keep: tuple[str, ...] | None) -> Plan:
    here = str(Path(SANDBOX).parent)
    room = (
        None if keep is None else MountNamespace(here, layers=(here,), tmp_bytes=65536, keep=keep)
    )
    command = (sys.executable, "-I", "-S", "-c", "")
    return Plan(command, environ={}, directory="/", room=room, cgroups=groups)


def _run_trial(plan: Plan) -> bool:
    """Run a plan, its complaints thrown away; say whether it could be run and ended well."""
    trial = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-S", "-c", BOOT, "1", str(os.getpid())],
        input=marshal.dumps(asdict(plan)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return trial.returncode == 0


def control_groups() -> Iterator[Hierarchy]:
    """Give where control groups could be made: below the gateway's own groups, or beside them."""
    for version, controllers, mount in _mounts(kernel_text(Path("/proc/self/mountinfo"))):
        own = _own_group(kernel_text(Path("/proc/self/cgroup")), version, controllers)
        directory = _inside(mount, own)
        if version == 2:
            yield _version_2(directory)
        else:
            yield Hierarchy(str(directory), 1, controllers & USEFUL)


def _mounts(mountinfo: str) -> Iterator[tuple[int, frozenset[str], tuple[str, str]]]:
    """Give version, controllers, root and mount point of the hierarchies that are of use."""
    for line in mountinfo.splitlines():
        fields, _, kind_and_options = line.partition(" - ")
        _, _, _, root, point, *_ = fields.split()
        kind, _, options = kind_and_options.split(" ", 2)
        controllers = frozenset(options.split(","))
        if kind == "cgroup2":
            yield 2, frozenset(), (root, point)
        elif kind == "cgroup" and controllers & USEFUL:
            yield 1, controllers, (root, point)


def _own_group(text: str, version: int, controllers: frozenset[str]) -> str:
    """Return the path of this process in a hierarchy, from /proc/self/cgroup."""
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        if (version == 2 and not names) or controllers & set(names.split(",")) & USEFUL:
            return path
    return "/"


def _inside(mount: tuple[str, str], own: str) -> Path:
    """Return the directory of a group; in a container only a part of the hierarchy is mounted."""
    root, point = mount
    directory = Path(point) / own.removeprefix(root).lstrip("/")
    return directory if directory.is_dir() else Path(point)


def _version_2(own: Path) -> Hierarchy:
    """Return where version 2 limits memory: below the own group, else beside it.

    A group that has processes gives no controllers to groups below it, so the second is what
    systemd's delegation usually leaves.
    """
    if "memory" not in _enabled(own):
        with suppress(OSError):
            (own / "cgroup.subtree_control").write_text("+memory +pids", encoding="ascii")
    for directory in (own, own.parent):
        enabled = _enabled(directory)
        if "memory" in enabled and os.access(directory, os.W_OK):
            return Hierarchy(str(directory), 2, enabled)
    return Hierarchy(str(own), 2, frozenset())


def _enabled(directory: Path) -> frozenset[str]:
    return USEFUL & frozenset(kernel_text(directory / "cgroup.subtree_control").split())

"""What this machine can do to confine an environment, and the control groups that confine it.

Everything is tried once at the start, with real processes: whether a room of its own can be made,
and which control groups can be made and entered. Control groups are of two versions, and a machine
may have both: memory and pids in version 1, `cgroup.kill` in version 2. An environment gets one
group in each hierarchy that is of use. Where none limits memory, its owner looks (watch.py).
"""

import marshal
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from gateway.runtime.call_filter import program
from gateway.runtime.child import sandbox
from gateway.runtime.launch import LaunchFailed, Plan, Room
from gateway.runtime.owner import own_prefix
from gateway.runtime.peers import Sight, find_sight
from gateway.telemetry.system import pause

SANDBOX = sandbox.__file__

BOOT = f"""\
import sys
sys.path.append({str(Path(SANDBOX).parent)!r})
import sandbox, executed
executed.main(sys.argv[1:])
"""
"""Runs executed.py as a module, whose compiled form Python keeps: 5 ms less than as a script."""

REMOVAL_SECONDS = 2.0
REMOVAL_STEP_SECONDS = 0.005

TRIAL_MEMORY_BYTES = 64 * 1024 * 1024

USEFUL = frozenset({"memory", "pids"})

LINKS_OF_EMPTY_GROUP = 2
"""Links of a control group's directory that has no other in it: its name and its own `.`."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A directory in which control groups can be made and entered."""

    directory: str
    version: int
    """1 or 2."""
    controllers: frozenset[str]
    """Those of `memory` and `pids` that limit a group made here."""


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


class ControlGroups:
    """The control groups of one environment, one in each hierarchy; an async context manager.

    Leaving it kills what is left in them and removes their directories (lambda.md 1.10).
    """

    def __init__(
        self, abilities: Abilities, *, memory_bytes: int, processes: int, tmp_bytes: int = 0
    ) -> None:
        """Limits are in bytes and in tasks; raises nothing, makes nothing.

        The kernel counts a tmpfs as memory, AWS does not: `tmp_bytes` is added to the limit, and
        its owner looks (watch.py) whether `used_memory_bytes` is over `memory_bytes`.
        """
        name = f"{own_prefix()}{secrets.token_hex(6)}"
        self._groups = [
            (hierarchy, Path(hierarchy.directory, name)) for hierarchy in abilities.hierarchies
        ]
        self._limits = {"memory": memory_bytes + tmp_bytes, "pids": processes}

    @property
    def directories(self) -> tuple[str, ...]:
        """For `Plan.cgroups`."""
        return tuple(str(path) for _, path in self._groups)

    def make(self) -> None:
        """Make the directories and set the limits; raises LaunchFailed and leaves none."""
        try:
            for hierarchy, path in self._groups:
                path.mkdir()
                _set_limits(hierarchy, path, self._limits)
        except OSError as error:
            self.remove()
            raise LaunchFailed(f"no control group: {error}") from error

    def allow_forks(self) -> None:
        """Set the limit of processes again, after a kill (`kill_groups`)."""
        for hierarchy, path in self._groups:
            if "pids" in hierarchy.controllers:
                _tell(path / "pids.max", str(self._limits["pids"]))

    def remove(self) -> bool:
        """Remove the directories that are empty of processes; say whether all are gone."""
        return all([remove_group(path) for _, path in self._groups])  # noqa: C419 - all are tried

    async def __aenter__(self) -> Self:
        self.make()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        for _ in range(int(REMOVAL_SECONDS / REMOVAL_STEP_SECONDS)):
            kill_groups(self.directories)
            if self.remove():
                return
            await pause(REMOVAL_STEP_SECONDS)

    def peak_memory_bytes(self) -> int:
        """Return the most memory used so far, with what it wrote to /tmp; 0 where not known."""
        names = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}
        return max(
            (_number(path / names[version]) for version, path in self._with_memory()), default=0
        )

    def is_over(self, limit_bytes: int) -> bool:
        """Say whether its processes hold more than this of their own, without files and /tmp.

        The cheap counter with files and /tmp comes first: 10 us instead of 60.
        """
        names = {1: "memory.usage_in_bytes", 2: "memory.current"}
        charged = [_number(path / names[version]) for version, path in self._with_memory()]
        return max(charged, default=0) > limit_bytes and self.used_memory_bytes() > limit_bytes

    def used_memory_bytes(self) -> int:
        """Return what its processes hold now of their own, without files and /tmp; 0 where not
        known."""
        names = {1: r"^total_rss (\d+)", 2: r"^anon (\d+)"}
        stats = [
            (names[version], _text(path / "memory.stat")) for version, path in self._with_memory()
        ]
        found = [re.search(name, text, re.MULTILINE) for name, text in stats]
        return max((int(match[1]) for match in found if match), default=0)

    def _with_memory(self) -> Iterator[tuple[int, Path]]:
        for hierarchy, path in self._groups:
            if "memory" in hierarchy.controllers:
                yield hierarchy.version, path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def remove_group(path: Path) -> bool:
    """Remove the directory of a control group and of all groups in it; say whether they are gone.

    False when a process is left in one of them.
    """
    return all(map(_is_removed, reversed(_with_groups_inside(str(path)))))


def _is_removed(group: str) -> bool:
    try:
        os.rmdir(group)  # noqa: PTH106 - text: a tenth of the time
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _with_groups_inside(directory: str) -> list[str]:
    """Return a control group and all that were made in it, each before those in itself.

    A directory of the kernel's says by its number of links whether it has any, for 2 us.
    """
    found = [directory]
    for group in found:
        with suppress(OSError):
            if os.stat(group).st_nlink > LINKS_OF_EMPTY_GROUP:  # noqa: PTH116 - text, as above
                with os.scandir(group) as entries:
                    found += [entry.path for entry in entries if entry.is_dir()]
    return found


def _set_limits(hierarchy: Hierarchy, path: Path, limits: dict[str, int]) -> None:
    if "pids" in hierarchy.controllers:
        (path / "pids.max").write_text(str(limits["pids"]), encoding="ascii")
    if "memory" in hierarchy.controllers:
        _set_memory_limit(path, hierarchy.version, limits["memory"])


def _set_memory_limit(path: Path, version: int, limit: int) -> None:
    """Limit memory, and swap where the kernel counts it; in version 2 a group dies as one."""
    if version == 1:
        (path / "memory.limit_in_bytes").write_text(str(limit), encoding="ascii")
        optional = {"memory.memsw.limit_in_bytes": limit}
    else:
        (path / "memory.max").write_text(str(limit), encoding="ascii")
        optional = {"memory.swap.max": 0, "memory.oom.group": 1}
    for name, value in optional.items():
        if (path / name).exists():
            (path / name).write_text(str(value), encoding="ascii")


def group_members(directories: Iterable[str]) -> set[int]:
    """Return the process ids in control groups and in all groups that were made in them."""
    groups = [group for directory in directories for group in _with_groups_inside(directory)]
    texts = [_text(Path(group, "cgroup.procs")) for group in groups]
    return {int(word) for text in texts for word in text.split() if word != "0"}


def kill_groups(directories: Iterable[str]) -> set[int]:
    """Send SIGKILL to all that is in control groups, at once where Linux can (5.14); return it."""
    directories = list(directories)
    for directory in directories:
        _forbid_forks(directory)
    found = group_members(directories)
    for directory in directories:
        with suppress(OSError):
            Path(directory, "cgroup.kill").write_text("1", encoding="ascii")
    kill_all(found)
    return found


def _forbid_forks(directory: str) -> None:
    """Let no process of a group start another, so that none is left when all are killed."""
    _tell(Path(directory, "pids.max"), "0")


def _tell(path: Path, text: str) -> None:
    """Write to a file of a control group that has it; makes none."""
    with suppress(OSError), path.open("r+", encoding="ascii") as file:
        file.write(text)


def kill_all(pids: Iterable[int]) -> None:
    """Send SIGKILL to processes; those that are gone or not ours are skipped."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, 9)


def find_abilities(keep: tuple[str, ...] = ()) -> Abilities:
    """Try what this machine lets this user do; blocks for about 50 ms.

    `keep` is as in `Room.keep`: what this interpreter needs.
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
    groups = ControlGroups(abilities, memory_bytes=TRIAL_MEMORY_BYTES, processes=16)
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
    room = None if keep is None else Room(here, layers=(here,), tmp_bytes=65536, keep=keep)
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
    for version, controllers, mount in _mounts(_text(Path("/proc/self/mountinfo"))):
        own = _own_group(_text(Path("/proc/self/cgroup")), version, controllers)
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
    return USEFUL & frozenset(_text(directory / "cgroup.subtree_control").split())

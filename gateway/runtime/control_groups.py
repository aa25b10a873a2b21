"""Control groups of one environment: made, limited, looked at, killed and removed.

They are of two versions, and a machine may have both: memory and pids in version 1, `cgroup.kill`
in version 2. An environment gets one group in each hierarchy that is of use (confinement.py).
"""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gateway.runtime.launch import LaunchFailed
from gateway.runtime.owner import own_prefix
from gateway.telemetry.system import pause

REMOVAL_SECONDS = 2.0
REMOVAL_STEP_SECONDS = 0.005

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


class ControlGroups:
    """The control groups of one environment, one in each hierarchy; an async context manager.

    Leaving it kills what is left in them and removes their directories (lambda.md 1.10).
    """

    def __init__(
        self,
        hierarchies: Iterable[Hierarchy],
        *,
        memory_bytes: int,
        processes: int,
        tmp_bytes: int = 0,
    ) -> None:
        """Limits are in bytes and in tasks; raises nothing, makes nothing.

        The kernel counts a tmpfs as memory, AWS does not: `tmp_bytes` is added to the limit, and
        its owner looks (watch.py) whether `used_memory_bytes` is over `memory_bytes`.
        """
        name = f"{own_prefix()}{secrets.token_hex(6)}"
        self._groups = [(hierarchy, Path(hierarchy.directory, name)) for hierarchy in hierarchies]
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
            (names[version], kernel_text(path / "memory.stat"))
            for version, path in self._with_memory()
        ]
        found = [re.search(name, text, re.MULTILINE) for name, text in stats]
        return max((int(match[1]) for match in found if match), default=0)

    def _with_memory(self) -> Iterator[tuple[int, Path]]:
        for hierarchy, path in self._groups:
            if "memory" in hierarchy.controllers:
                yield hierarchy.version, path


def kernel_text(path: Path) -> str:
    """Return what a file of the kernel's holds, nothing when it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = kernel_text(path).strip()
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
    texts = [kernel_text(Path(group, "cgroup.procs")) for group in groups]
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

"""The limits of one environment: control groups, or readings of its memory and storage."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gateway.runtime.confinement import Abilities
from gateway.runtime.control_groups import ControlGroups, group_members
from gateway.runtime.owner import own_prefix
from gateway.runtime.process import KILL_PAUSE_SECONDS, KILLS, Members
from gateway.runtime.usage import Storage, memory_bytes
from gateway.runtime.watch import Watch

MEGABYTE = 1024 * 1024
PEAK_SECONDS = 0.1
"""How long a reading of the most memory used is good for."""


class EnvironmentLimits:
    """The limits of one environment in force; `make` and `close` frame its life."""

    def __init__(  # noqa: PLR0913 - one limit each
        self,
        abilities: Abilities,
        watch: Watch,
        *,
        marker: str,
        memory_bytes: int,
        tmp_bytes: int,
        processes: int,
    ) -> None:
        self._memory_bytes = memory_bytes
        self._tmp_bytes = tmp_bytes
        self._is_limited_by_group = abilities.limits_memory
        self._has_room = abilities.can_unshare
        self._groups = ControlGroups(
            abilities.hierarchies,
            memory_bytes=memory_bytes,
            processes=processes,
            tmp_bytes=tmp_bytes if abilities.can_unshare else 0,
        )
        self._peak_bytes = 0
        self._peak_at = float("-inf")
        self._watch = watch
        self._kill: Callable[[], None] | None = None
        self._storage: Storage | None = None
        self._is_made = self._is_full = False
        self._is_busy = self._was_used = False
        self.marker = marker
        self.pid = 0
        self.needs_walk = not self._groups.directories
        self.tmp = ""
        """The directory for temporary files, where there is no mount namespace."""

    @property
    def directories(self) -> tuple[str, ...]:
        """Return the control groups to enter."""
        return self._groups.directories

    def make(self) -> None:
        """Make control groups and directories, or none; raises LaunchFailed and OSError."""
        self._groups.make()
        if not self._has_room:
            try:
                self.tmp = tempfile.mkdtemp(prefix=own_prefix())
            except OSError:
                self._groups.remove()
                raise
            self._storage = Storage(self.tmp)
        self._is_made = True

    def watch(self, pid: int, kill: Callable[[], None]) -> None:
        """Look at the processes from now on.

        Even where the kernel limits memory: it counts files at /tmp as memory, which AWS does not.
        """
        self.pid, self._kill = pid, kill
        self._was_used = True
        self._watch.add(self)

    def rest(self) -> None:
        """Look no more."""
        self._watch.remove(self)
        self.pid, self._kill = 0, None

    def begin_use(self) -> None:
        """Look often: something is run."""
        self._is_busy = self._was_used = True

    def end_use(self) -> None:
        """Look once more, then seldom."""
        self._is_busy = False

    # What the watch asks for.

    def take_use(self) -> bool:
        """Say whether something runs, or has since this was asked last."""
        was_used, self._was_used = self._was_used, self._is_busy
        return was_used

    def is_over(self, members: set[int]) -> bool:
        """Say whether a limit is exceeded; blocks, on another thread."""
        return self._is_over_memory(members) or self._is_over_storage()

    def end(self) -> None:
        """Kill what is over a limit."""
        if self._kill is not None:
            self._kill()

    def _is_over_memory(self, members: set[int]) -> bool:
        if self._is_limited_by_group:
            return self._groups.is_over(self._memory_bytes)
        members = members if self.needs_walk else group_members(self.directories)
        used = memory_bytes(members, self._memory_bytes)
        self._peak_bytes = max(self._peak_bytes, used)
        return used > self._memory_bytes

    def _is_over_storage(self) -> bool:
        self._is_full = self._storage is not None and self._storage.is_over(self._tmp_bytes)
        return self._is_full

    def peak_mb(self, now: float) -> int:
        """Return the most memory used, in MB rounded up; at most 100 ms old.

        Without a control group it is what looks have seen, with shared pages counted in full
        unless that is over the limit.
        """
        if self._is_limited_by_group and now - self._peak_at >= PEAK_SECONDS:
            self._peak_at = now
            self._peak_bytes = self._groups.peak_memory_bytes()
        return -(-self._peak_bytes // MEGABYTE)

    def members(self, pid: int) -> Members:
        """Return the processes of the environment; `pid` is the first one, 0 when it is gone."""
        return Members(pid, self.directories, self.marker)

    async def emptied(self) -> None:
        """Kill what a process that has exited left behind, until there is nothing, for 2 s."""
        loop = asyncio.get_running_loop()
        members = self.members(0)  # its number may be another's by now
        for _ in range(KILLS):
            # A walk is not for the event loop: many environments may end at once.
            found = await asyncio.to_thread(members.kill) if self.needs_walk else members.kill()
            if not found:
                break
            later = loop.create_future()
            loop.call_later(KILL_PAUSE_SECONDS, later.set_result, None)
            await later
        self._groups.allow_forks()
        if self._is_full:  # or the next process would be ended for it
            self._is_full = False
            await asyncio.to_thread(empty, self.tmp)

    async def close(self) -> None:
        """Kill what is left and remove everything."""
        self.rest()
        if not self._is_made:
            return
        await self._groups.__aexit__(None, None, None)
        if self.tmp:
            await asyncio.to_thread(shutil.rmtree, self.tmp, ignore_errors=True)


def empty(directory: str) -> None:
    """Remove what is in a directory; blocks."""
    shutil.rmtree(directory, ignore_errors=True)
    Path(directory).mkdir(mode=0o700, exist_ok=True)

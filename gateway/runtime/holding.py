"""What holds the processes of one environment: control groups, and the owner's eye where there are
none."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gateway.runtime.confinement import (
    LOOK_SECONDS,
    Abilities,
    ControlGroups,
    directory_bytes,
    group_memory_bytes,
)
from gateway.runtime.owner import own_prefix
from gateway.runtime.process import SWEEP_SECONDS, SWEEPS, Members

MEGABYTE = 1024 * 1024
PEAK_SECONDS = 0.1
"""How long a reading of the most memory used is good for."""


class Holding:
    """The limits of one environment in force; `make` and `close` frame its life."""

    def __init__(
        self,
        abilities: Abilities,
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
            abilities,
            memory_bytes=memory_bytes,
            processes=processes,
            tmp_bytes=tmp_bytes if abilities.can_unshare else 0,
        )
        self._peak_bytes = 0
        self._peak_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._marker = marker
        self._is_made = self._is_full = False
        self.tmp = ""
        """The directory for temporary files, where there is no mount namespace."""

    @property
    def directories(self) -> tuple[str, ...]:
        """Return the control groups to enter."""
        return self._groups.directories

    def make(self) -> None:
        """Make control groups and directories; raises LaunchFailed."""
        self._groups.make()
        self._is_made = True
        if not self._has_room:
            self.tmp = tempfile.mkdtemp(prefix=own_prefix())

    def watch(self, pid: int, kill: Callable[[], None]) -> None:
        """Look at the processes every 100 ms from now on.

        Even where the kernel limits memory: it counts files at /tmp as memory, which AWS does not.
        """
        self.rest()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._look, pid, kill)

    def rest(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, pid: int, kill: Callable[[], None]) -> None:
        """End an environment that is over a limit."""
        self._timer = None
        if self._is_over_memory(pid) or self._is_over_storage():
            kill()
        else:
            self.watch(pid, kill)

    def _is_over_memory(self, pid: int) -> bool:
        if self._is_limited_by_group:
            return self._groups.used_memory_bytes() > self._memory_bytes
        used = group_memory_bytes(self._members(pid).find())
        self._peak_bytes = max(self._peak_bytes, used)
        return used > self._memory_bytes

    def _is_over_storage(self) -> bool:
        self._is_full = bool(self.tmp) and directory_bytes(self.tmp) > self._tmp_bytes
        return self._is_full

    def peak_mb(self, now: float) -> int:
        """Return the most memory used, in MB rounded up; at most 100 ms old."""
        if self._is_limited_by_group and now - self._peak_at >= PEAK_SECONDS:
            self._peak_at = now
            self._peak_bytes = self._groups.peak_memory_bytes()
        return -(-self._peak_bytes // MEGABYTE)

    def _members(self, pid: int) -> Members:
        return Members(pid, self.directories, self._marker)

    async def emptied(self) -> None:
        """Kill what a process that has exited left behind, until there is nothing, for 2 s."""
        loop = asyncio.get_running_loop()
        for _ in range(SWEEPS):
            if not self._members(0).kill():  # its number may be another's by now
                break
            later = loop.create_future()
            loop.call_later(SWEEP_SECONDS, later.set_result, None)
            await later
        self._groups.allow_forks()
        if self._is_full:  # or whoever comes next would be ended for it
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

"""One timer that looks at the memory and storage of all environments of a process.

Looks are made on a thread, because they read some hundred files of /proc, and each system call lets
the event loop go on. One look reads the table of processes for all environments that need it: the
whole table once a second, and in between what is new in it. An environment that has run something
since the last look is looked at every 100 ms, an idle one once a second: what an idle one can do is
little, and 50 of them would take a core.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from gateway.runtime.processes import Table

LOOK_SECONDS = 0.1
"""How often a busy environment is looked at."""

IDLE_LOOKS = 10
"""Idle environments are all looked at in every tenth look: once a second."""


class Watched(Protocol):
    """What is looked at, from the start of a process to its end."""

    marker: str
    pid: int
    """The first process; 0 before its start."""
    needs_walk: bool
    """Whether only a walk over /proc can tell which its processes are."""

    def take_use(self) -> bool:
        """Say whether it runs something, or has since this was asked last."""
        ...

    def is_over(self, members: set[int]) -> bool:
        """Say whether it is over a limit, given its processes where those were walked for; blocks,
        on another thread."""
        ...

    def end(self) -> None:
        """Kill it for being over a limit."""
        ...


class Watch:
    """Looks at what is added until it is removed; needs a running event loop to add."""

    def __init__(self, table: Table | None = None) -> None:
        self._watched: dict[Watched, None] = {}
        self._table = table or Table()
        self._ticks = 0
        self._is_running = False

    def add(self, watched: Watched) -> None:
        """Look at it from now on."""
        self._watched[watched] = None
        if not self._is_running:
            self._is_running = True
            self._wait()

    def remove(self, watched: Watched) -> None:
        """Look at it no more."""
        self._watched.pop(watched, None)

    def _wait(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._tick)

    def _tick(self) -> None:
        if not self._watched:
            self._is_running = False
            return
        self._ticks += 1
        is_for_all = self._ticks % IDLE_LOOKS == 0
        due = {one: one.pid for one in self._watched if one.take_use() or is_for_all}
        if due:
            roots = {one.marker: one.pid for one in self._watched if one.needs_walk}
            loop = asyncio.get_running_loop()
            looking = partial(self._look, list(due), roots, is_fresh=is_for_all)
            look = loop.run_in_executor(None, looking)
            look.add_done_callback(lambda done: self._end(done, due))
        else:
            self._wait()

    def _end(self, look: asyncio.Future[list[Watched]], due: Mapping[Watched, int]) -> None:
        """End those that are over a limit, unless their process has ended meanwhile."""
        if look.cancelled():
            return
        self._wait()
        for one in look.result():
            if one in self._watched and one.pid == due[one]:
                self.remove(one)
                one.end()

    def _look(
        self, due: Sequence[Watched], roots: Mapping[str, int], *, is_fresh: bool
    ) -> list[Watched]:
        """Return which are over a limit; `roots` are the first processes of all, by marker, where a
        walk is needed. Blocks, on another thread."""
        needs_walk = any(one.needs_walk for one in due)
        members = self._table.families(roots, is_fresh=is_fresh) if needs_walk else {}
        return [one for one in due if one.is_over(members.get(one.marker, set()))]

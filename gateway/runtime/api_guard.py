"""Lets an environment's own processes speak to its Runtime API, and nothing else.

All environments have the gateway's user, so the user alone would let siblings in: the connection's
socket is looked for among the descriptors of the environment's processes, once per connection. The
process that was started is looked at first, at once; what takes longer goes in slices, so that an
environment of a thousand processes holds up no other.
"""

import asyncio
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import cast

from gateway.runtime.api_routes import error_message
from gateway.runtime.peers import Address, PeerSocket, Sight, first_links, links, names, peer_socket
from gateway.runtime.process import Members

LINKS_AT_ONCE = 256
"""Descriptors looked at in a slice: about 0.3 ms."""

SLICE_SECONDS = 0.005
"""From one slice to the next: a long search takes a twentieth of the event loop."""

SEARCH_SECONDS = 10.0
"""Then the connection counts as foreign."""

STRANGER_SECONDS = 1.0
"""How long a foreign connection may take to send something that can be answered."""

FOREIGN = error_message(
    403, "Forbidden", "The Runtime API answers the processes of its own environment only"
)


Decided = Callable[[bool], None]

Links = Callable[[str], Iterator[str]]
"""What the descriptors in a /proc/PID/fd point to, as `gateway.runtime.peers.links` gives it."""


class Search:
    """Looks for a socket among the descriptors of processes, a few at a time."""

    def __init__(
        self, wanted: PeerSocket, pid: int, deadline: float, links_in: Links = links
    ) -> None:
        """`pid` is the process to begin with, 0 for none."""
        self.deadline = deadline
        self._wanted = wanted.link
        self._seen = {pid} if pid else set[int]()
        self._links_in = links_in
        self._links = self._links_of(self._seen)
        self._has_seen_threads = False

    def advance(self) -> bool | None:
        """Look at some more: True when it was found, None when there is more to look at.

        A process that hides its descriptors counts as the holder: it is the environment's own.
        """
        looked_at = 0
        try:
            for link in islice(self._links, LINKS_AT_ONCE):
                looked_at += 1
                if link == self._wanted:
                    return True
        except PermissionError:
            return True
        return None if looked_at == LINKS_AT_ONCE else False

    def give_up(self) -> None:
        """Have it end with its next slice: its connection is gone."""
        self.deadline = -math.inf

    def add(self, pids: set[int]) -> bool:
        """Look at these processes, too, and at last at threads, which may have descriptors of
        their own; say whether there is anything that was not looked at."""
        fresh = pids - self._seen
        if fresh:
            self._seen |= fresh
            self._links = self._links_of(fresh)
            return True
        if self._has_seen_threads:
            return False
        self._has_seen_threads = True
        self._links = self._links_of_threads(self._seen)
        return True

    def _links_of(self, pids: set[int]) -> Iterator[str]:
        for pid in tuple(pids):
            yield from self._links_in(f"/proc/{pid}/fd")

    def _links_of_threads(self, pids: set[int]) -> Iterator[str]:
        for pid in tuple(pids):
            for thread in names(f"/proc/{pid}/task"):
                if thread != str(pid):
                    yield from self._links_in(f"/proc/{pid}/task/{thread}/fd")


class Guard:
    """Tells connections of one environment from those of others; one search at a time."""

    def __init__(
        self, sight: Sight, members: Callable[[], Members], links_in: Links = links
    ) -> None:
        self._sight = sight
        self._members = members
        self._links_in = links_in
        self._loop = asyncio.get_running_loop()
        self._searches: deque[tuple[Search, Decided]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def is_on(self) -> bool:
        """Whether anything can be told."""
        return self._sight is not Sight.NOTHING

    def judge(self, peer: Address, own: Address, decided: Decided) -> Search | None:
        """Say whether a connection is the environment's, at once where that is quick.

        Else the search is returned, which `give_up` ends early.
        """
        try:
            found = peer_socket(peer, own)
        except OSError:  # no descriptor left
            found = None
        if found is None or found.user != os.geteuid():
            decided(False)  # noqa: FBT003 - a callback's only argument
        elif self._sight is Sight.USER or found.link in first_links(self._members().pid):
            decided(True)  # noqa: FBT003
        else:
            return self._begin(found, decided)
        return None

    def _begin(self, wanted: PeerSocket, decided: Decided) -> Search:
        deadline = self._loop.time() + SEARCH_SECONDS
        search = Search(wanted, self._members().pid, deadline, self._links_in)
        self._searches.append((search, decided))
        if len(self._searches) == 1:
            self._look()
        return search

    def close(self) -> None:
        """Search no more."""
        self._is_closed = True
        self._searches.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        search, _ = self._searches[0]
        verdict = search.advance()
        if verdict is None and self._loop.time() < search.deadline:
            self._timer = self._loop.call_later(SLICE_SECONDS, self._look)
        elif verdict is False:
            self._find_members()
        else:
            self._decide(is_own=bool(verdict))

    def _find_members(self) -> None:
        """Ask for all processes of the environment: in a thread where that means all of /proc."""
        members = self._members()
        if members.cgroups:
            self._found(members.find())
        else:
            self._loop.run_in_executor(None, members.find).add_done_callback(self._walked)

    def _walked(self, walk: "asyncio.Future[set[int]]") -> None:
        if not self._is_closed:
            self._found(walk.result())

    def _found(self, pids: set[int]) -> None:
        if self._searches[0][0].add(pids):
            self._look()
        else:
            self._decide(is_own=False)

    def _decide(self, *, is_own: bool) -> None:
        _, decided = self._searches.popleft()
        if self._searches:
            self._timer = self._loop.call_later(SLICE_SECONDS, self._look)
        decided(is_own)


class Visitor(asyncio.Protocol):
    """A connection that is not yet known to be the environment's; nothing of it is read."""

    _transport: asyncio.Transport

    def __init__(
        self,
        guard: Guard,
        forget: Callable[["Visitor"], None],
        admit: Callable[[], asyncio.Protocol],
        turn_away: Callable[[], asyncio.Protocol],
    ) -> None:
        self._guard = guard
        self._forget = forget
        self._admit = admit
        self._turn_away = turn_away
        self._search: Search | None = None
        self._held = b""
        self._is_lost = self._is_unwanted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have its owner looked for."""
        self._transport = cast("asyncio.Transport", transport)
        peer, own = (transport.get_extra_info(name) for name in ("peername", "sockname"))
        if self._is_unwanted or not peer:  # ended before it was made, or gone already
            self._transport.abort()
        else:
            self._search = self._guard.judge(peer, own, self._decided)

    def data_received(self, data: bytes) -> None:
        """Keep what came before it could be told to wait."""
        self._held += data
        self._transport.pause_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """Be forgotten."""
        self._is_lost = True
        if self._search is not None:
            self._search.give_up()
        self._forget(self)

    def close(self) -> None:
        """End the connection."""
        self._is_unwanted = True
        if hasattr(self, "_transport"):
            self._transport.abort()

    def _decided(self, is_own: bool) -> None:  # noqa: FBT001 - a callback's only argument
        """Hand the connection over to what serves it from now on."""
        if self._is_lost or self._is_unwanted or self._transport.is_closing():
            return
        self._forget(self)
        protocol = self._admit() if is_own else self._turn_away()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._held and not self._transport.is_closing():
            self._transport.resume_reading()
            protocol.data_received(self._held)


class Stranger(asyncio.Protocol):
    """A connection of something else: it is told so once it has asked, and ended."""

    _transport: asyncio.Transport

    def __init__(self, forget: Callable[["Stranger"], None]) -> None:
        self._forget = forget

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for something that can be answered, for a second."""
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(STRANGER_SECONDS, self._transport.abort)

    def data_received(self, _data: bytes) -> None:
        """Refuse it, whatever it is."""
        self._transport.write(FOREIGN)
        self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """Be forgotten."""
        self._timer.cancel()
        self._forget(self)

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()

"""What one HTTP/1 connection holds of the room that all connections of a front share.

Only what waits for the client counts: a head or a body that is not complete, requests behind the
one that runs, a response that is not taken. A request that comes in one piece and is answered to a
client that reads costs nothing here. A large body gets room for all of it before the rest is read.
"""

import asyncio
from collections.abc import Callable

from gateway.core.limits import Phase, Progress
from gateway.core.turns import Claim, Share, do_nothing
from gateway.web.front import Front

UNCOUNTED_BYTES = 4 * 1024
"""This much of each connection is not counted; the connection itself takes more."""

SMALL_BODY_BYTES = 64 * 1024
"""A body of no more than this needs no room and never waits, as over HTTP/2."""

RESERVES_NOTHING = 1
"""What a reply needs before it is run: over HTTP/1 it counts when the client does not take it."""


class Account:
    """Counts the bytes of one connection, and pauses its reading."""

    __slots__ = ("_address", "_claim", "_evict", "_front", "_progress", "_transport", "is_paused")

    def __init__(
        self,
        front: Front,
        address: str,
        transport: asyncio.Transport,
        progress: Progress,
        evict: Callable[[], None],
    ) -> None:
        """`evict` ends the connection and closes its account."""
        self._front = front
        self._address = address
        self._transport = transport
        self._progress = progress
        self._evict = evict
        self._claim: Claim | None = None
        self.is_paused = False
        """Nothing is read of the connection."""

    @property
    def is_open(self) -> bool:
        """Say whether something is counted."""
        return self._claim is not None

    def pause(self) -> None:
        """Read nothing more for a while."""
        if not self.is_paused:
            self.is_paused = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Read again."""
        if self.is_paused:
            self.is_paused = False
            self._transport.resume_reading()

    def count(self, size: int) -> None:
        """Count this many bytes in the place of those before; this may close connections, this one
        among them."""
        claim = self._claim
        if claim is None:
            if size <= UNCOUNTED_BYTES:
                return
            claim = self._claim = self._opened()
        more = size - claim.loose
        self._front.shared_room.room.receive(claim, more)
        if more > 0:
            self._front.shared_room.close_largest()

    def _opened(self) -> Claim:
        share = Share(self._address, self._evict)
        share.need = RESERVES_NOTHING
        self._front.shared_room.room.enter(share)
        return Claim(share)

    def count_waiting(self, kept: int) -> None:
        """Count this many bytes of further requests, and what the client does not take."""
        unsent = 0
        if self._progress.stalled_at is not None:
            unsent = self._transport.get_write_buffer_size()
        self.count(kept + unsent)

    def hold(self, kept: int) -> None:
        """Count this many bytes of further requests, and pause where they are more than allowed."""
        if kept > self._front.limits.pipelined_bytes:
            self.pause()
        self.count_waiting(kept)

    def await_body(self, size: int, most: int) -> None:
        """Count what has come of a body, and read on in a large one when there is room for all of
        it."""
        self.count(size)
        claim = self._claim
        if size <= SMALL_BODY_BYTES or claim is None or claim.has_room:
            return
        if claim.queue is None:
            self._front.shared_room.ask_upload(claim, self.read_on, most)
        if claim.queue is not None:
            self.pause()

    def look(self, now: float, kept: int) -> bool:
        """Say whether a body has waited for room too long: no other time counts meanwhile. A client
        that does not take its response may have taken a part."""
        claim = self._claim
        if claim is None:
            return False
        if claim.queue is None:
            if self._progress.phase is Phase.WRITING:
                self.count_waiting(kept)
            return False
        self._progress.began_at = self._progress.active_at = now
        return now - claim.asked_at >= self._front.limits.room_seconds

    def close(self) -> None:
        """Count nothing any more."""
        claim, self._claim = self._claim, None
        if claim is not None:
            self._front.shared_room.room.forget(claim)
            self._front.shared_room.room.leave(claim.share)
            self._front.shared_room.wake()

    def release(self) -> None:
        """Close, and let go of the connection: a cycle would wait for the garbage collector."""
        self.close()
        self._evict = do_nothing

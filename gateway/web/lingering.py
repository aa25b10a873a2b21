"""The end of a connection whose client may still be sending: half-close, then read and drop.

A byte that comes after a full close turns it into a reset, and a reset destroys what the client has
not read yet: a client that writes all of its request before it reads would never see why it was
refused (RFC 9112 section 9.6). nginx does the same and calls it lingering_close. Nothing of what
comes is kept. How long this takes is bounded by silence, speed and size. It is brief behind a
response to a request that was read to its end, and where more than a few connections of an address,
or very many in all, linger already.
"""

import asyncio

from gateway.core.limits import Phase, Progress, overdue
from gateway.web.front import Front
from gateway.web.members import Member
from gateway.web.stall import Stall


class Lingering(asyncio.Protocol):
    """Takes the place of a connection's protocol after its last response."""

    __slots__ = ("_front", "_is_lost", "_is_paused", "_stall", "_transport", "client", "progress")

    def __init__(
        self,
        front: Front,
        transport: asyncio.Transport,
        client: tuple[str, int],
        progress: Progress,
        stall: Stall,
    ) -> None:
        self._front = front
        self._transport = transport
        self._stall = stall
        self._is_lost = self._is_paused = False
        self.client = client
        self.progress = progress

    def begin(self, connection: Member, *, is_brief: bool = False) -> None:
        """Take over from the connection that was counted until now."""
        progress = self.progress
        progress.phase = Phase.LINGERING
        progress.began_at = progress.active_at = self._front.monotonic()
        progress.body_bytes = 0
        self._front.replace(connection, self)
        progress.is_brief = is_brief or not self._front.linger(self)
        self._transport.set_protocol(self)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # What the event loop tells.

    def data_received(self, data: bytes) -> None:
        """Drop what comes."""
        progress = self.progress
        progress.active_at = self._front.monotonic()
        progress.body_bytes += len(data)
        if progress.body_bytes > self._front.limits.linger_bytes:
            self._transport.abort()
        elif not self._is_paused:
            self._front.read_rate.spend(self, len(data))

    def pause(self) -> None:
        """Read nothing until it is this connection's turn."""
        self._is_paused = True
        self._transport.pause_reading()

    def go_on(self) -> None:
        """Read on; the client was not silent, it was not heard."""
        self._is_paused = False
        self.progress.active_at = self._front.monotonic()
        self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Note that the client takes less than is written."""
        self._stall.begin(self._front.monotonic())

    def resume_writing(self) -> None:
        """Begin to count: the client has been sent everything."""
        self._stall.end(self._front.monotonic())
        self.progress.began_at = self.progress.active_at

    def connection_lost(self, _error: Exception | None) -> None:
        """Count the connection out."""
        self._is_lost = True
        self._front.read_rate.forget(self)
        self._front.forget(self)

    # What the front asks for.

    def check_deadlines(self, now: float) -> None:
        """Cut off a client that has had its time."""
        if self._is_lost:
            return
        self._stall.look(now)
        if self._is_paused:
            self.progress.active_at = now
        if overdue(self.progress, self._front.limits, now) is not None:
            self._stall.abort()

    def close_if_idle(self) -> None:
        """Be brief: the process ends, and the client may still be reading."""
        self.progress.is_brief = True

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

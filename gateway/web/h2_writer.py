"""Writes the bodies of an HTTP/2 connection's responses: no faster than the client takes them.

Streams take turns, a frame each, as far as their windows and the connection's allow. While the
transport is full nothing is written, and nothing read either.
"""

import asyncio
import socket

from gateway.core.floods import Held
from gateway.web.h2_stream import Stream
from gateway.web.stall import RESET
from gateway.wire.h2 import Session

TURN_BYTES = 16 * 1024
"""What a stream may send before the next one's turn: a frame (RFC 9113 section 6.5.2)."""

ROUND_BYTES = 128 * 1024
"""What is sent before the transport is asked again whether it has room."""


class Writer:
    """The responses of one connection that are not written, and what is held for it in all."""

    __slots__ = (
        "_held",
        "_session",
        "_stalled_at",
        "_transport",
        "_unsent_before",
        "_waiting",
        "held_bytes",
        "is_due",
        "is_paused",
    )

    _transport: asyncio.Transport

    def __init__(self, session: Session, held: Held) -> None:
        self._session = session
        self._held = held
        self.held_bytes = 0
        """Request bodies that are not complete, and what was not written of responses."""
        self._waiting: dict[int, Stream] = {}
        self._stalled_at = 0.0
        self._unsent_before = 0
        self.is_due = False
        """Windows have grown, or a response has come."""
        self.is_paused = False
        """The transport holds bytes that the client has not taken."""

    def begin(self, transport: asyncio.Transport) -> None:
        """Take the transport."""
        self._transport = transport
        # One unsent byte or two are a client that may stall. Not 0: asyncio's TLS pauses at as much
        # as the limit, so after every write, and goes on only with the next.
        transport.set_write_buffer_limits(1, 0)

    # What is held.

    def hold(self, size: int) -> bool:
        """Count bytes to be held, unless there is no room for them; whoever holds most may have to
        make it."""
        if not self._held.has_room(self.held_bytes, size):
            hog = self._held.hog(self.held_bytes, size)
            if hog is None:
                return False
            hog.evict()
        self._count(size)
        return True

    def release(self, stream: Stream) -> None:
        """Count out what was held of a request's body."""
        self._count(-len(stream.body))

    def forget(self, stream: Stream) -> None:
        """Let go of a stream and all that is held for it."""
        counted = stream.unsent if stream.stream_id in self._waiting else stream.body
        self._count(-len(counted))
        self._waiting.pop(stream.stream_id, None)
        stream.unsent = stream.body = b""

    def _count(self, size: int) -> None:
        self.held_bytes += size
        self._held.total += size

    # Writing.

    def add(self, stream: Stream) -> None:
        """Write a stream's body from now on."""
        self._waiting[stream.stream_id] = stream
        self.is_due = True

    def flush(self, now: float) -> tuple[int, list[Stream]]:
        """Write what can be written; returns the bytes of bodies and the streams that are done."""
        total = 0
        finished: list[Stream] = []
        while self._waiting and self.is_due and not self.is_paused:
            sent = self._round(now, finished)
            total += sent
            self.is_due = sent >= ROUND_BYTES
            self.write()
        return total, finished

    def write(self) -> None:
        """Write what there is of frames."""
        data = self._session.take()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _round(self, now: float, finished: list[Stream]) -> int:
        """Give streams their turns until a round is full or nobody may send."""
        total, stuck = 0, 0
        while self._waiting and stuck < len(self._waiting) and total < ROUND_BYTES:
            stream = self._waiting.pop(next(iter(self._waiting)))
            sent = self._turn(stream, now)
            if not stream.unsent:
                finished.append(stream)
            else:
                self._waiting[stream.stream_id] = stream
            total += sent
            stuck = 0 if sent else stuck + 1
        return total

    def _turn(self, stream: Stream, now: float) -> int:
        size = min(self._session.room(stream.stream_id), TURN_BYTES)
        piece = stream.unsent[:size]
        if not piece:
            return 0
        rest = stream.unsent[size:]
        self._session.send_data(stream.stream_id, piece, is_last=not rest)
        stream.unsent = rest
        stream.moved_at = now
        stream.sent_bytes += len(piece)
        self._count(-len(piece))
        return len(piece)

    # The client's pace.

    def pause(self, now: float) -> None:
        """Write, and read, nothing until the transport has room."""
        self.is_paused = True
        self._stalled_at = now
        self._unsent_before = self._transport.get_write_buffer_size()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on."""
        self.is_paused = False
        self.is_due = True
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def has_stalled(self, now: float, seconds: float) -> bool:
        """Say whether the client has taken nothing of what waits for so long."""
        if self.is_paused:
            waiting = self._transport.get_write_buffer_size()
            if waiting < self._unsent_before:
                self._stalled_at = now
            self._unsent_before = waiting
            return now - self._stalled_at >= seconds
        return any(
            now - stream.moved_at >= seconds and not self._session.room(stream.stream_id)
            for stream in self._waiting.values()
        )


def cut_off(transport: asyncio.Transport) -> None:
    """End a client that does not read: a regular close would leave the kernel trying."""
    client = transport.get_extra_info("socket")
    if client is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()

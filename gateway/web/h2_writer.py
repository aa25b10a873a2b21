"""Writes the bodies of an HTTP/2 connection's responses: no faster than the client takes them.

Streams take turns, a frame each, as far as their windows and the connection's allow. While the
transport is full nothing is written, and nothing read either.
"""

import asyncio
import socket

from gateway.core.room import Room
from gateway.web.h2_stream import Stream
from gateway.web.stall import RESET
from gateway.wire.h2 import Session

TURN_BYTES = 16 * 1024
"""What a stream may send before the next one's turn: a frame (RFC 9113 section 6.5.2)."""

ROUND_BYTES = 128 * 1024
"""What is sent before the transport is asked again whether it has room."""


class Writer:
    """The responses of one connection that are not written."""

    __slots__ = (
        "_moved_at",
        "_room",
        "_session",
        "_stalled_at",
        "_transport",
        "_unsent_before",
        "_waiting",
        "has_sent",
        "is_due",
        "is_paused",
    )

    _transport: asyncio.Transport

    def __init__(self, session: Session, room: Room) -> None:
        self._session = session
        self._room = room
        self._waiting: dict[int, Stream] = {}
        self._moved_at = self._stalled_at = 0.0
        self.has_sent = False
        """A byte of a body was sent."""
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

    # Writing.

    def add(self, stream: Stream) -> None:
        """Write a stream's body from now on."""
        if not self._waiting:
            self._moved_at = stream.moved_at
        self._waiting[stream.stream_id] = stream
        self.is_due = True

    def forget(self, stream: Stream) -> None:
        """Write no more of a stream."""
        self._waiting.pop(stream.stream_id, None)
        stream.unsent = b""

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
        """Give streams their turns until a round is full or no stream may send."""
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
        is_last = len(piece) == len(stream.unsent)
        self._session.send_data(stream.stream_id, piece, is_last=is_last)
        stream.moved_at = self._moved_at = now
        self.has_sent = True
        self._room.send(stream.claim, stream.advance(len(piece)))
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

    def takes_nothing(self, now: float, seconds: float) -> bool:
        """Say whether something waits and nothing of it was taken for these seconds."""
        return bool(self._waiting) and now - self._moved_at >= seconds

    def has_stalled(self, now: float, seconds: float) -> bool:
        """Say whether the client has taken nothing of a response for these seconds."""
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

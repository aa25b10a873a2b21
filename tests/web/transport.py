"""A client of a connection without a socket: the transport that the loop would have made."""

import asyncio
import selectors
import socket
from dataclasses import dataclass
from typing import Any, cast

from gateway.testing import FakeClock
from gateway.web.h1_connection import Http1Connection


@dataclass
class Reply:
    """One response as a client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes


def replies(received: bytes) -> list[Reply]:
    """Read responses, none of them to HEAD; a 100 is one of them."""
    found = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        assert end, f"incomplete head {head!r}"
        line, *fields = head.decode().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        size = int(headers.get("Content-Length", "0"))
        assert len(received) >= size, "incomplete body"
        found.append(Reply(int(line.split(" ")[1]), headers, received[:size]))
        received = received[size:]
    return found


class _Selector(selectors.SelectSelector):
    """Moves the clock instead of waiting."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "the event loop would never wake"
        self._clock.advance(max(0.0, timeout))
        return []


class StandingLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of ours."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_Selector(clock))
        self.time = clock.monotonic  # type: ignore[method-assign]


class Peer(asyncio.Transport):
    """A client, and the transport between it and a connection.

    `room` is how many bytes the client takes before it stops; None for all of them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Http1Connection,
        *,
        names: dict[str, Any],
        can_half_close: bool = True,
        has_socket: bool = True,
        room: int | None = None,
    ) -> None:
        super().__init__(names | ({"socket": self} if has_socket else {}))
        self._loop = loop
        self.connection = connection
        self._protocol: asyncio.Protocol = connection
        self.received = b""
        self.room = room
        self.options: list[tuple[int, int]] = []
        self.is_half_closed = self.is_closed = self.is_aborted = self.is_reading_paused = False
        self._can_half_close = can_half_close
        self._is_closing = self._is_eof_written = self._is_writing_paused = False
        self._unsent = b""
        self._inbox: list[bytes | None] = []
        self._high = self._low = 64 * 1024

    # What the client does.

    def send(self, data: bytes) -> None:
        """Send bytes; they wait while reading is paused."""
        self._inbox.append(data)
        self._deliver()

    def send_eof(self) -> None:
        """Say that no more comes."""
        self._inbox.append(None)
        self._deliver()

    def leave(self) -> None:
        """Be gone at once."""
        self._lose(ConnectionResetError())

    def take(self, size: int | None = None) -> None:
        """Take this many bytes more of what was written; without a size all, and what comes."""
        self.room = None if size is None else (self.room or 0) + size
        self._flush()

    @property
    def replies(self) -> "list[Reply]":
        return replies(self.received)

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    # What the connection does.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def setsockopt(self, level: int, option: int, _value: bytes) -> None:
        self.options.append((level, option))

    @property
    def is_reset(self) -> bool:
        """Say whether the kernel was told to drop what it still holds."""
        return self.is_aborted and (socket.SOL_SOCKET, socket.SO_LINGER) in self.options

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._is_eof_written, "written behind the end"
        assert data, "an empty write"
        if self.is_closed or self.is_aborted:
            return
        self._unsent += bytes(data)
        self._flush()
        if len(self._unsent) > self._high and not self._is_writing_paused:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return self._can_half_close

    def write_eof(self) -> None:
        self._is_eof_written = True
        self._flush()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._inbox.clear()
            self._flush()

    def abort(self) -> None:
        self.is_aborted = True
        self._lose(None)

    def pause_reading(self) -> None:
        assert not self.is_reading_paused
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        assert self.is_reading_paused
        self.is_reading_paused = False
        self._loop.call_soon(self._deliver)

    # Between the two.

    def _deliver(self) -> None:
        while self._inbox and not (self.is_reading_paused or self._is_closing or self.is_closed):
            data = self._inbox.pop(0)
            if data is not None:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()

    def _flush(self) -> None:
        size = len(self._unsent) if self.room is None else min(self.room, len(self._unsent))
        taken, self._unsent = self._unsent[:size], self._unsent[size:]
        self.received += taken
        if self.room is not None:
            self.room -= size
        if self._is_writing_paused and len(self._unsent) <= self._low:
            self._is_writing_paused = False
            self._protocol.resume_writing()
        if not self._unsent:
            self.is_half_closed |= self._is_eof_written
            if self._is_closing:
                self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self.is_closed:
            self.is_closed = self._is_closing = True
            self._unsent = b""
            self._loop.call_soon(self._protocol.connection_lost, error)

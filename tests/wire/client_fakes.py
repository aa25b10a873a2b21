"""A connection of the client without a socket, on an event loop whose time a test moves."""

import asyncio
from collections.abc import Callable

from gateway.wire.client_connection import Connection
from tests.wire.origin import OK

LIMIT = 1000
"""What a response may have as its body."""


class FakeTransport(asyncio.Transport):
    """Takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = self.is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.is_aborted = True


class FakeOwner:
    """Notes what happens to connections."""

    max_response_bytes = LIMIT
    idle_seconds = 60.0

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.released: list[Connection] = []

    def remember(self, transport: asyncio.Transport, /) -> None:
        pass

    def release(self, connection: Connection, /) -> None:
        self.released.append(connection)

    def forget(self, connection: Connection, /) -> None:
        pass


class FakeTimer:
    """A timer of FakeLoop."""

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback = when, callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeLoop:
    """An event loop whose time passes when told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[FakeTimer] = []
        self.create_future = asyncio.get_running_loop().create_future

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(when, callback))
        return self.timers[-1]

    def wait_until(self, now: float) -> None:
        self.now = now
        for timer in self.timers.copy():
            if timer.when <= now and not timer.is_cancelled:
                timer.is_cancelled = True
                timer.callback()


def timed() -> tuple[FakeLoop, Connection, FakeTransport]:
    owner, loop, transport = FakeOwner(), FakeLoop(), FakeTransport()
    owner.loop = loop  # type: ignore[assignment]
    connection = Connection(owner)
    connection.connection_made(transport)
    return loop, connection, transport


def answered(connection: Connection, deadline: float) -> bool:
    future = connection.start(b"GET / HTTP/1.1\r\n\r\n", b"", deadline)
    connection.data_received(OK)
    return future.result().body == b"ok"

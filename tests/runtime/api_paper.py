"""Connections of the Runtime API without sockets: a test gives bytes and sees what is written."""

import re
from collections import deque

from gateway.runtime.api_connection import ApiConnection, Siblings
from gateway.runtime.api_routes import Platform


class PaperTransport:
    """A transport that keeps what is written, and what it is told to do."""

    def __init__(self, peer: object = None) -> None:
        self._peer = peer
        self.written = bytearray()
        self.is_aborted = self.is_closed = self.is_paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> object:
        return self._peer if name in {"peername", "sockname"} else None


class Turns:
    """Siblings that have one connection, and give it a turn when the test says so."""

    authority = b"paper"

    def __init__(self) -> None:
        self.waiting: deque[ApiConnection] = deque()
        self.forgotten: list[ApiConnection] = []

    def forget(self, connection: ApiConnection, /) -> None:
        self.forgotten.append(connection)

    def may_hold(self, _connection: ApiConnection, /) -> bool:
        return True

    def let_go(self, _connection: ApiConnection, /) -> None: ...

    def delivers(self, _connection: ApiConnection, /) -> None: ...

    def later(self, connection: ApiConnection, /) -> None:
        self.waiting.append(connection)

    def give(self) -> None:
        """Let each connection read on that waits for its turn, and those that wait again."""
        while self.waiting:
            self.waiting.popleft().read_on()


class Paper:
    """One connection."""

    def __init__(self, platform: Platform, siblings: Siblings) -> None:
        self._authority = siblings.authority
        self.transport = PaperTransport()
        self.connection = ApiConnection(platform, siblings)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def send(self, data: bytes) -> None:
        """Have bytes come, with the right authority."""
        self.connection.data_received(data.replace(b"HOST", self._authority))

    def statuses(self) -> list[int]:
        """Return the statuses that were answered so far."""
        return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d+) ", self.transport.written)]

"""Raw HTTP/2 against a listener in a process of its own: frames as they are sent and come."""

import os
import select
import shutil
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import hpack
import pytest

from tests.e2e.serving import DEADLINE_SECONDS, Server
from tests.web.h2_peer import frame

MEGABYTE = 1_000_000
"""A large response."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WIDE = frame(4, 0, 0, struct.pack(">HI", 4, 2**30)) + frame(8, 0, 0, struct.pack(">I", 2**30))
SETTINGS, NO_WINDOW = frame(4, 0, 0), frame(4, 0, 0, struct.pack(">HI", 4, 0))


def tool(name: str) -> str:
    """The path of a command, beside this Python or of the system; skips the test without it."""
    found = shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if found is None:
        pytest.skip(f"{name} is not installed: `make tools`")
    return found


@contextmanager
def listening(*arguments: str) -> Iterator[Server]:
    """Run a listener of HTTP/2 in a process of its own."""
    with Server([sys.executable, "-m", "tests.promises.http2_server", *arguments]) as process:
        yield process.wait_until_listening()
        assert process.is_running
        assert len(process.output()) == 1, process.output.text()
        assert process.errors() == []


def block(path: str = "/", *more: tuple[str, str], method: str = "GET") -> bytes:
    pseudo = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
    return hpack.Encoder().encode([*pseudo, *more])


BLOCK = block()
GOAWAY, RST_STREAM = 7, 3


def streams(start: int = 1) -> Iterator[int]:
    return iter(range(start, 2**31, 2))


class Raw:
    """A connection on which frames are sent as they are."""

    def __init__(self, server: Server, settings: bytes, source: str) -> None:
        there = ("127.0.0.1", server.port)
        self.socket = socket.create_connection(there, DEADLINE_SECONDS, (source, 0))
        self.socket.sendall(PREFACE + settings)
        self._begun = b""
        self.is_closed = False

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            self.is_closed = True

    def frames(self, seconds: float) -> list[tuple[int, int, int, bytes]]:
        """Return the frames that come, waiting so long for the first of them."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return []
        try:
            data = self.socket.recv(2**18)
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
        data, found = self._begun + data, []
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
            data = data[end:]
        self._begun = data
        return found


@contextmanager
def connected(
    server: Server, settings: bytes = SETTINGS, source: str = "127.0.0.1"
) -> Iterator[Raw]:
    with closing(Raw(server, settings, source)) as raw:
        yield raw


def greet(server: Server) -> None:
    """An honest client is answered."""
    assert answered(server, "/") == b"hello"


def answered(server: Server, path: str) -> bytes:
    """The body that an honest client is answered with, its windows large enough for all of it."""
    body = b""
    with connected(server, WIDE) as raw:
        raw.send(frame(1, 5, 1, block(path)))
        deadline = time.monotonic() + DEADLINE_SECONDS  # noqa: TID251
        while time.monotonic() < deadline:  # noqa: TID251
            for kind, flags, _, payload in raw.frames(DEADLINE_SECONDS):
                assert kind != RST_STREAM, payload
                body += payload if kind == 0 else b""
                if kind == 0 and flags & 1:
                    return body
    raise AssertionError("no answer")

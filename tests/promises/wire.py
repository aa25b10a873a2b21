"""Raw sockets against a server under test: what is sent and what comes back, to the byte.

Nothing here understands more of HTTP than responses with a Content-Length, so that no library can
hide what really is on the wire.
"""

import re
import socket
from dataclasses import dataclass
from typing import Self

from tests.e2e.serving import DEADLINE_SECONDS, Server

CANARY = b"GET /canary HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n"
"""Pipelined behind a request under test: an answer to it shows where that request ended."""

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ([\t -~\x80-\xff]*)")


@dataclass(frozen=True)
class Response:
    """One response as it came."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def all(self, name: bytes) -> list[bytes]:
        """Return a header's values; the name in lower case."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def closes(self) -> bool:
        """Say whether the server announces that the connection ends."""
        return self.all(b"connection") == [b"close"]


def parsed(data: bytes, *, is_head: bool = False) -> tuple[Response, bytes]:
    """Return the first response of the data and what follows it."""
    head, end, rest = data.partition(b"\r\n\r\n")
    assert end, f"no end of head in {data!r}"
    first, *lines = head.split(b"\r\n")
    matched = STATUS_LINE.fullmatch(first)
    assert matched, f"no status line: {first!r}"
    headers = []
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon, f"no header line: {line!r}"
        headers.append((name, value))
    response = Response(int(matched[1]), matched[2], headers, b"")
    lengths = response.all(b"content-length")
    has_no_body = is_head or response.status in {100, 204, 304}
    assert len(lengths) <= 1
    assert lengths or has_no_body, f"neither length nor end: {head!r}"
    size = 0 if has_no_body else int(lengths[0])
    assert len(rest) >= size, f"{size - len(rest)} bytes of the body are missing"
    return Response(response.status, response.reason, headers, rest[:size]), rest[size:]


def all_parsed(data: bytes) -> list[Response]:
    """Return every response of the data, which holds nothing else."""
    responses = []
    while data:
        response, data = parsed(data)
        responses.append(response)
    return responses


class Wire:
    """One connection; a context manager."""

    def __init__(self, server: Server, *, source: str = "127.0.0.1") -> None:
        address = ("127.0.0.1", server.port)
        self.socket = socket.create_connection(address, DEADLINE_SECONDS, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def response(self, *, is_head: bool = False) -> Response:
        """Wait for one response; what comes behind it stays."""
        while True:
            try:
                response, self._received = parsed(self._received, is_head=is_head)
            except AssertionError:
                if not self._read():
                    raise
            else:
                return response

    def ask(self, data: bytes, *, is_head: bool = False) -> Response:
        """Send a request and wait for its response."""
        self.send(data)
        return self.response(is_head=is_head)

    def rest(self) -> bytes:
        """Return everything up to the end of the connection; a reset raises."""
        while self._read():
            pass
        rest, self._received = self._received, b""
        return rest

    def pending(self) -> bytes:
        """Return what came and was not asked for."""
        return self._received

    def _read(self) -> bool:
        data = self.socket.recv(65536)
        self._received += data
        return bool(data)


def exchange(server: Server, data: bytes, *, source: str = "127.0.0.1") -> list[Response]:
    """Send bytes on a connection of their own; return the responses up to its end."""
    with Wire(server, source=source) as wire:
        wire.send(data)
        return all_parsed(wire.rest())


def get(*headers: bytes, target: bytes = b"/", version: bytes = b"1.1") -> bytes:
    """Return a GET with a Host and these lines."""
    lines = [b"GET " + target + b" HTTP/" + version, b"Host: a", *headers, b"", b""]
    return b"\r\n".join(lines)


def post(body: bytes, *headers: bytes, target: bytes = b"/") -> bytes:
    """Return a POST with a Content-Length."""
    length = b"Content-Length: %d" % len(body)
    lines = [b"POST " + target + b" HTTP/1.1", b"Host: a", length, *headers, b"", b""]
    return b"\r\n".join(lines) + body


def chunk(data: bytes, *, extension: bytes = b"") -> bytes:
    """Return one chunk."""
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def chunked(*chunks: bytes, target: bytes = b"/", headers: tuple[bytes, ...] = ()) -> bytes:
    """Return a chunked POST of chunks that are complete, the last one included."""
    lines = [b"POST " + target + b" HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked"]
    return b"\r\n".join([*lines, *headers, b"", b""]) + b"".join(chunks)

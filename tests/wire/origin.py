"""A server on loopback that does what a script says, in the event loop of the test.

`origin` serves until its block ends; the script is called with a `Visit` for every connection.
`spoken_to` is a Peer for it that has to leave nothing behind.
"""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.telemetry.system import turns_of_the_loop
from gateway.wire.client import Peer, PeerSettings, Reply

DEADLINE_SECONDS = 20.0
"""What no step of any test takes, even on a machine that does three other things."""

SHORT_SECONDS = 0.2
"""A deadline that has to pass; a busy machine may need most of it to connect."""

HOST = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close that the other side sees as a reset."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run async tests on both event loops: they differ in how connections end."""
    return "asyncio", {"use_uvloop": request.param}


ASYNCIO_ALONE = pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})])
"""For tests that move the time of the event loop; uvloop's cannot be moved."""


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass for the running event loop, as soon as everything before has happened: a short
    deadline would also have to hold for that, however busy the machine is."""
    loop = asyncio.get_running_loop()
    before = loop.time
    monkeypatch.setattr(loop, "time", lambda: before() + seconds)


class Visit:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.is_over = asyncio.Event()

    async def request(self) -> tuple[bytes, bytes]:
        """Return head and body of the next request; raises IncompleteReadError at the end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
        return head, await self.reader.readexactly(size)

    def send(self, *pieces: bytes) -> None:
        """Write bytes."""
        for piece in pieces:
            self.writer.write(piece)

    def reset(self) -> None:
        """Be gone, so that the client sees a reset."""
        listening = self.writer.get_extra_info("socket")
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    def close(self) -> None:
        """End the connection politely."""
        self.writer.close()

    async def over(self) -> None:
        """Wait until the script for this connection has ended."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.is_over.wait()

    async def gone(self) -> bytes:
        """Wait until the client has closed; returns what it sent before."""
        rest = b""
        try:
            while data := await self.reader.read(65536):
                rest += data
        except ConnectionError:
            pass
        return rest


Script = Callable[[Visit], Awaitable[None]]


class Origin:
    """What is known of the server."""

    def __init__(self) -> None:
        self.port = 0
        self.visits: list[Visit] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.open = self.most_open = 0
        """Connections at the moment, and at most."""

    async def answer(self, visit: Visit, *pieces: bytes) -> tuple[bytes, bytes]:
        """Take one request and answer it."""
        request = await visit.request()
        self.requests.append(request)
        visit.send(*pieces)
        return request

    async def answer_all(self, visit: Visit) -> None:
        """Answer whatever comes."""
        while True:
            await self.answer(visit, OK)


Scripted = Callable[[Origin, Visit], Awaitable[None]]


async def answering(origin: Origin, visit: Visit) -> None:
    """The script of a server that works."""
    await origin.answer_all(visit)


def sending(*pieces: bytes, then: str = "") -> Scripted:
    """Return the script of a server that answers each request with these bytes; it then does what
    is said."""

    async def script(origin: Origin, visit: Visit) -> None:
        while True:
            await origin.answer(visit, *pieces)
            if then:
                await visit.writer.drain()
                getattr(visit, then)()

    return script


class Held:
    """A script that answers each request when told, in the order in which they came."""

    def __init__(self) -> None:
        self.waiting: list[Visit] = []
        self.bodies: list[bytes] = []

    async def __call__(self, _origin: Origin, visit: Visit) -> None:
        while True:
            _, body = await visit.request()
            self.bodies.append(body)
            self.waiting.append(visit)

    def answer(self) -> None:
        """Answer the request that waits longest."""
        self.waiting.pop(0).send(OK)

    async def came(self, count: int) -> None:
        """Wait until this many requests have come in all."""
        await until(lambda: len(self.bodies) >= count)


@asynccontextmanager
async def serving(script: Scripted, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Serve on a free port until the block ends."""
    origin = Origin()
    tasks: set[asyncio.Task[Any]] = set()

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        visit = Visit(reader, writer)
        origin.visits.append(visit)
        origin.open += 1
        origin.most_open = max(origin.most_open, origin.open)
        try:
            await script(origin, visit)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            origin.open -= 1
            visit.is_over.set()
            writer.transport.abort()

    server = await asyncio.start_server(visited, HOST, 0, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await until(lambda: all(visit.writer.transport.is_closing() for visit in origin.visits))


@asynccontextmanager
async def spoken_to(
    origin: Origin, *, scheme: str = "http", host: str = HOST, **settings: Any
) -> AsyncIterator[Peer]:
    """Give a Peer for the server; when the block ends nothing may be left of it."""
    async with Peer(scheme, host, origin.port, PeerSettings(**settings)) as peer:
        yield peer
    check_nothing_is_left(peer)


def check_nothing_is_left(peer: Peer) -> None:
    assert peer._connections == set()
    assert peer._idle == []
    assert list(peer._waiting) == []
    assert peer._places == peer._settings.connections


def soon(seconds: float = DEADLINE_SECONDS) -> float:
    """Return a deadline."""
    return asyncio.get_running_loop().time() + seconds


async def exchange(peer: Peer, body: bytes = b"", *, seconds: float = DEADLINE_SECONDS) -> Reply:
    """Exchange something."""
    return await peer.exchange(b"POST", b"/a", [(b"X-A", b"1")], body, deadline=soon(seconds))


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until a condition holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await turns_of_the_loop(1)


def open_files() -> int:
    """Return how many descriptors the process has."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - one less for its own

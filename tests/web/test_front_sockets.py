"""The same promises over real sockets, under both event loops: what the fake client stands for."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import pytest
import uvloop

from gateway.core.desync import Mode
from gateway.core.limits import Limits
from gateway.core.pages import Pages
from gateway.telemetry.system import HexDraws, SystemClock
from gateway.testing import FakeSink
from gateway.web.front import Front
from gateway.web.h1_connection import Http1Connection
from tests.web.peer import CANARY, GET, LISTENER, Telling, chunked
from tests.web.transport import replies

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 10.0

NewLoop = Callable[[], asyncio.AbstractEventLoop]
LOOPS: list[NewLoop] = [asyncio.SelectorEventLoop, uvloop.new_event_loop]

QUICK = replace(Limits(), linger_silence_seconds=1.0, stalled_write_seconds=1.0, drain_seconds=5.0)


class Server:
    """A front on a real port; it drains at the end, and then nothing may be left of it."""

    def __init__(self, size: int = 0) -> None:
        self.sink = FakeSink()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = self.listening.getsockname()
        self.front = Front(
            Telling(size=size),
            listener=LISTENER,
            pages=Pages(),
            sink=self.sink,
            clock=SystemClock(),
            draw=HexDraws(),
            limits=QUICK,
            mode=Mode.DEFENSIVE,
            at_once=1000,
        )
        self._end: Callable[[], object] = lambda: None
        self.left: list[object] = []

    async def serve(self, is_ready: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        self._end = lambda: loop.call_soon_threadsafe(end.set)
        accepting = await loop.create_server(
            partial(Http1Connection, self.front), sock=self.listening
        )
        self.front.start_sweep()
        is_ready.set()
        await end.wait()
        accepting.close()
        await self.front.drain()
        self.front.stop()
        self.left = [
            *(asyncio.all_tasks() - {asyncio.current_task()}),
            *self.front.members.connections,
        ]

    def stop(self) -> None:
        with suppress(RuntimeError):  # it has ended
            self._end()

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.address)
        client.settimeout(PATIENCE_SECONDS)
        return client


@contextmanager
def served(new_loop: NewLoop, size: int = 0) -> Iterator[Server]:
    server = Server(size)
    is_ready = threading.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(server.serve(is_ready))

    thread = threading.Thread(target=run)
    thread.start()
    assert is_ready.wait(PATIENCE_SECONDS)
    try:
        yield server
    finally:
        server.stop()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert server.left == []


def wait_until(is_so: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.01)):
        if is_so():
            return
        waiting.wait(0.01)
    raise AssertionError("waited without success")


def read_to_end(client: socket.socket) -> bytes:
    """Return everything up to the end; a reset raises."""
    received = bytearray()
    while data := client.recv(2**16):
        received += data
    return bytes(received)


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_refused_client_reads_the_status_though_it_goes_on_sending(new_loop: NewLoop) -> None:
    with served(new_loop) as server, server.connect() as client:
        client.sendall(chunked(2**20 * b"x", end=b"1\r\n"))
        client.sendall(2**19 * b"x")
        client.shutdown(socket.SHUT_WR)

        assert [reply.status for reply in replies(read_to_end(client))] == [413]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_client_of_a_closing_answer_reads_it_whole_though_it_goes_on_sending(
    new_loop: NewLoop,
) -> None:
    with served(new_loop, size=2**20) as server, server.connect() as client:
        client.sendall(GET.replace(b"\r\n\r\n", b"\r\n: nameless\r\n\r\n"))
        for _ in range(50):
            client.sendall(CANARY)

        (reply,) = replies(read_to_end(client))

        assert (reply.status, len(reply.body)) == (200, 2**20)
        assert reply.headers["Connection"] == "close"


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_client_that_half_closes_gets_all_its_answers(new_loop: NewLoop) -> None:
    with served(new_loop, size=2**16) as server, server.connect() as client:
        client.sendall(20 * GET)
        client.shutdown(socket.SHUT_WR)

        assert [reply.status for reply in replies(read_to_end(client))] == 20 * [200]


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_client_that_takes_nothing_is_reset(new_loop: NewLoop) -> None:
    with served(new_loop, size=2**23) as server, server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(GET)
        client.sendall(CANARY)
        wait_until(lambda: bool(server.sink.notices and not server.front.members.connections))

        with pytest.raises(ConnectionResetError):
            read_to_end(client)


@pytest.mark.parametrize("new_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_drain_answers_an_idle_connection_and_ends(new_loop: NewLoop) -> None:
    with served(new_loop) as server, server.connect() as client:
        client.sendall(GET)
        client.recv(2**16)
        server.stop()
        wait_until(lambda: server.front._is_draining)
        client.sendall(GET)

        (reply,) = replies(read_to_end(client))

        assert reply.headers["Connection"] == "close"

"""What is known of an event whose runtime has ended: real sockets, on both event loops."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.api_routes import Event, Poll
from gateway.runtime.unread import has_left_bytes
from tests.runtime.api_client import NEXT, until
from tests.runtime.api_rig import EVENT, Fake, unguarded

LARGE = Event(EVENT.headers, b"x" * 500_000)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the state of a socket")


@pytest.fixture(
    params=[{}, {"loop_factory": uvloop.new_event_loop}], ids=["asyncio", "uvloop"], scope="module"
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", request.param


class Runtime:
    """A runtime whose system calls a test makes one by one."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.sendall(NEXT.replace(b"HOST", address.encode()))

    def read(self, size: int) -> None:
        while size:
            size -= len(self.socket.recv(size))

    def end(self) -> None:
        self.socket.close()


@asynccontextmanager
async def polling() -> AsyncIterator[tuple[Runtime, Fake]]:
    """Have a runtime wait for an event; at the end the server has seen its end."""
    platform = Fake(None)
    server = RuntimeApiServer(platform, unguarded())
    await server.start()
    runtime = Runtime(server.address)
    try:
        await until(lambda: platform.connections)
        yield runtime, platform
        runtime.end()
        await until(lambda: platform.lost)
        assert platform.lost == platform.connections
    finally:
        server.close()


def is_silent(poll: Poll) -> bool:
    return poll._is_silent  # type: ignore[attr-defined,no-any-return]


def size_of(event: Event) -> int:
    head = b"HTTP/1.1 200 OK\r\n" + event.headers + b"Content-Length: %d\r\n\r\n"
    return len(head % len(event.payload)) + len(event.payload)


@pytest.mark.parametrize("unread", [1, 10], ids=["but for a byte", "but for some"])
async def test_event_that_was_not_read_to_its_end_is_left(unread: int) -> None:
    async with polling() as (runtime, platform):
        platform.connections[0].deliver(EVENT)
        runtime.read(size_of(EVENT) - unread)

    assert platform.connections[0].has_left_event


async def test_event_that_was_read_counts_as_received() -> None:
    async with polling() as (runtime, platform):
        platform.connections[0].deliver(EVENT)
        runtime.read(size_of(EVENT))

    assert not platform.connections[0].has_left_event


async def test_event_sent_after_the_end_of_its_runtime_is_left() -> None:
    """The gateway's loop has had no turn to see the end before it sends."""
    async with polling() as (runtime, platform):
        runtime.end()
        platform.connections[0].deliver(EVENT)

    assert platform.connections[0].has_left_event


async def test_event_for_a_connection_that_is_lost_is_left_and_raises_nothing() -> None:
    async with polling() as (runtime, platform):
        runtime.end()
        await until(lambda: platform.lost)
        platform.connections[0].deliver(EVENT)

    assert platform.connections[0].has_left_event


async def test_large_event_of_which_nothing_was_read_is_left() -> None:
    async with polling() as (_, platform):
        platform.connections[0].deliver(LARGE)

    assert platform.connections[0].has_left_event


async def test_runtime_that_has_said_something_has_received_its_event() -> None:
    """It may have sent half of a response before its system reset the connection."""
    async with polling() as (runtime, platform):
        platform.connections[0].deliver(EVENT)
        runtime.read(size_of(EVENT))
        runtime.socket.sendall(b"POST ")
        await until(lambda: not is_silent(platform.connections[0]))

    assert not platform.connections[0].has_left_event


async def test_runtime_that_ends_while_it_waits_has_left_no_event() -> None:
    async with polling() as (_, platform):
        pass

    assert not platform.connections[0].has_left_event


def test_system_that_does_not_tell_counts_an_orderly_close_as_read() -> None:
    class Silent(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return default

    assert not has_left_bytes(Silent(), None)
    assert has_left_bytes(Silent(), ConnectionResetError())

"""How long a Runtime API looks for the owner of a connection, and how many it holds meanwhile."""

import asyncio
import math
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import repeat
from pathlib import Path

import pytest

from gateway.runtime import api
from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.api_guard import (
    LINKS_AT_ONCE,
    SEARCH_SECONDS,
    SLICE_SECONDS,
    STRANGER_SECONDS,
    Guard,
    Links,
    Search,
    Stranger,
    Visitor,
)
from gateway.runtime.peers import PeerSocket, Sight
from gateway.runtime.process import Members
from tests.runtime.api_client import NEXT, connected
from tests.runtime.api_paper import PaperTransport
from tests.runtime.api_rig import Fake
from tests.runtime.fake_time import advance, anyio_backend  # noqa: F401 - a fixture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for sockets")

NOWHERE = Members(2**22 + 1)
"""A process that is not there, and no other."""


def endless(_directory: str) -> Iterator[str]:
    return repeat("pipe:[7]")


def guard_of(links_in: Links, members: Members = NOWHERE) -> Guard:
    return Guard(Sight.PROCESS, lambda: members, links_in)


@asynccontextmanager
async def guarded(guard: Guard) -> AsyncIterator[RuntimeApiServer]:
    server = RuntimeApiServer(Fake(), guard)
    await server.start()
    try:
        yield server
    finally:
        server.close()
        await server.emptied()


@pytest.mark.parametrize("count", [0, 1, LINKS_AT_ONCE - 1, LINKS_AT_ONCE, LINKS_AT_ONCE + 1])
def test_a_search_goes_in_slices(count: int) -> None:
    shown = ["pipe:[7]"] * count + ["socket:[7]"]
    search = Search(PeerSocket(0, 7), 1, math.inf, lambda _: iter(shown))

    verdicts = [search.advance() for _ in range(1 + count // LINKS_AT_ONCE)]

    assert verdicts == [None] * (count // LINKS_AT_ONCE) + [True]


def test_a_process_that_hides_its_descriptors_is_the_holder() -> None:
    def hidden(_directory: str) -> Iterator[str]:
        yield "pipe:[7]"
        raise PermissionError

    search = Search(PeerSocket(0, 7), 1, math.inf, hidden)

    assert search.advance() is True


async def test_a_search_that_takes_too_long_ends_as_foreign() -> None:
    told: list[bool] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        guard_of(endless).judge(client.getsockname(), listening.getsockname(), told.append)
    await advance(SEARCH_SECONDS - SLICE_SECONDS)
    early = told.copy()
    await advance(SLICE_SECONDS)

    assert (early, told) == ([], [False])


async def test_searches_end_with_their_connections() -> None:
    looked_in: list[str] = []

    def links_in(directory: str) -> Iterator[str]:
        for link in endless(directory):
            looked_in.append(directory)
            yield link

    async with (
        guarded(guard_of(links_in)) as server,
        connected(server.address) as first,
        connected(server.address) as second,
    ):
        await first.send(NEXT)
        await second.send(NEXT)
        await advance(SLICE_SECONDS)
        server.disconnect()
        assert await first.is_at_end()
        assert await second.is_at_end()
        for _ in range(5):
            await advance(SLICE_SECONDS)
        seen = len(looked_in)
        await advance(SLICE_SECONDS)

        assert len(looked_in) == seen > 0


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("is_foreign", [False, True], ids=["not yet known", "foreign"])
async def test_connections_that_say_nothing_are_limited(
    tmp_path: Path, is_foreign: bool, more: int
) -> None:
    (tmp_path / "cgroup.procs").touch()  # an environment without a process
    members = Members(0, (str(tmp_path),)) if is_foreign else NOWHERE
    count = more + (api.STRANGERS if is_foreign else api.CONNECTIONS)
    async with guarded(guard_of(endless, members)) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server.address)) for _ in range(count)]
        for _ in clients:
            await advance(SLICE_SECONDS)

        assert [client.reader.at_eof() for client in clients[:-1]] == [False] * (count - 1)
        assert clients[-1].reader.at_eof() == (more > 0)


async def test_foreign_connections_that_say_nothing_are_cut() -> None:
    transport, forgotten = PaperTransport(), list[Stranger]()
    stranger = Stranger(forgotten.append)
    stranger.connection_made(transport)  # type: ignore[arg-type]
    await advance(STRANGER_SECONDS - 0.1)
    early = transport.is_aborted
    await advance(0.1)
    stranger.connection_lost(None)

    assert (early, transport.is_aborted, forgotten) == (False, True, [stranger])


class Asked:
    """Stands for a Guard that finds no time to look."""

    decided: Callable[[bool], None]

    def judge(self, _peer: object, _own: object, decided: Callable[[bool], None]) -> None:
        self.decided = decided


async def test_a_visitor_that_leaves_meanwhile_is_served_by_none() -> None:
    asked, transport = Asked(), PaperTransport(peer=("127.0.0.1", 1))
    served: list[str] = []

    def admit() -> asyncio.Protocol:
        served.append("admitted")
        return asyncio.Protocol()

    visitor = Visitor(asked, lambda _: None, admit, admit)  # type: ignore[arg-type]
    visitor.connection_made(transport)  # type: ignore[arg-type]
    visitor.connection_lost(None)
    asked.decided(True)

    assert served == []


async def test_a_visitor_that_is_gone_already_is_not_looked_for() -> None:
    asked, transport = Asked(), PaperTransport()
    visitor = Visitor(asked, lambda _: None, asyncio.Protocol, asyncio.Protocol)  # type: ignore[arg-type]

    visitor.close()
    visitor.connection_made(transport)  # type: ignore[arg-type]

    assert transport.is_aborted
    assert not hasattr(asked, "decided")

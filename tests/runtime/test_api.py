"""The Runtime API server: its connections, their number and their end."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from gateway.runtime import api
from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.ports import RECENT_PORTS
from tests.runtime.api_client import NEXT, connected, post, until
from tests.runtime.api_rig import Fake, served, unguarded
from tests.runtime.environments import descriptor_count


async def test_connections_are_limited_and_forgotten() -> None:
    platform = Fake()
    async with served(platform) as server, connected(server.address) as first:
        async with AsyncExitStack() as stack:
            others = [
                await stack.enter_async_context(connected(server.address))
                for _ in range(api.CONNECTIONS)
            ]
            assert await others[-1].is_at_end()
            for client in (first, *others[:-1]):
                assert (await client.ask(NEXT)).status == 200
        await until(lambda: len(platform.lost) == api.CONNECTIONS - 1)
        async with connected(server.address) as late:
            assert (await late.ask(NEXT)).status == 200


async def test_a_process_that_is_gone_loses_its_connections_and_the_port_stays() -> None:
    platform = Fake(event=None)
    async with served(platform) as server:
        async with connected(server.address) as client:
            await client.send(NEXT)
            await until(lambda: platform.connections)
            server.disconnect()
            assert await client.is_at_end()
        async with connected(server.address) as client:
            assert (await client.ask(post("init/error"))).status == 202


async def test_nothing_answers_after_the_close() -> None:
    async with served(Fake()) as server:
        host, port = server.address.split(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))
    server.close()


async def test_a_server_that_never_started_can_be_closed() -> None:
    server = RuntimeApiServer(Fake(), unguarded())

    server.close()

    assert server.address == ""


async def test_a_closed_server_gives_its_port_back() -> None:
    async with served(Fake()) as server:
        port = int(server.address.split(":")[1])

    assert RECENT_PORTS.has(port, asyncio.get_running_loop().time())


async def test_a_second_start_listens_where_the_first_did() -> None:
    async with served(Fake()) as server:
        address, before = server.address, descriptor_count()
        await server.start()

        assert server.address == address
        assert descriptor_count() == before


async def test_a_server_that_cannot_listen_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise OSError("no")

    before = descriptor_count()
    monkeypatch.setattr(asyncio.get_running_loop(), "create_server", refuse)
    server = RuntimeApiServer(Fake(), unguarded())
    with pytest.raises(OSError, match="no"):
        await server.start()

    assert descriptor_count() == before
    server.close()

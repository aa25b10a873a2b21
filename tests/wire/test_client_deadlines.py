"""Deadlines and idle times of the client's connections, and the one timer that keeps them."""

import pytest

from gateway.telemetry.system import turns_of_the_loop
from gateway.wire.client import (
    DeadlineExceeded,
)
from tests.wire.client_fakes import FakeOwner, answered, timed
from tests.wire.origin import (  # noqa: F401 - the event loops
    DEADLINE_SECONDS,
    HOST,
    OK,
    SHORT_SECONDS,
    Origin,
    Visit,
    answering,
    anyio_backend,
    exchange,
    sending,
    serving,
    soon,
    spoken_to,
    until,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def sized(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join(
        [b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % len(body), b"", body]
    )


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200 OK\r\nX-A", CHUNKED, OK[:-1]])
async def test_peer_that_does_not_answer_in_time_is_left(response: bytes) -> None:
    async with serving(sending(response)) as origin, spoken_to(origin) as peer:
        began = peer.loop.time()
        with pytest.raises(DeadlineExceeded):
            await exchange(peer, seconds=SHORT_SECONDS)
        took = peer.loop.time() - began
        await origin.visits[0].over()

    assert SHORT_SECONDS - 0.002 <= took < DEADLINE_SECONDS


async def test_peer_that_trickles_gets_no_more_time() -> None:
    async def script(_origin: Origin, visit: Visit) -> None:
        await visit.request()
        visit.send(sized(b"." * 10**6)[: -(10**6)])
        while True:
            visit.send(b".")
            await visit.writer.drain()
            await turns_of_the_loop(1)

    async with serving(script) as origin, spoken_to(origin) as peer:
        with pytest.raises(DeadlineExceeded):
            await exchange(peer, seconds=SHORT_SECONDS)


async def test_deadline_of_a_later_exchange_is_kept_though_a_timer_runs_already() -> None:
    async def script(origin: Origin, visit: Visit) -> None:
        await origin.answer(visit, OK)
        await origin.answer(visit)
        await visit.gone()

    async with serving(script) as origin, spoken_to(origin) as peer:
        await exchange(peer, seconds=DEADLINE_SECONDS)
        with pytest.raises(DeadlineExceeded):
            await exchange(peer, seconds=SHORT_SECONDS)


async def test_idle_connection_is_closed_after_its_time() -> None:
    async with serving(answering) as origin, spoken_to(origin, idle_seconds=SHORT_SECONDS) as peer:
        await exchange(peer)
        await origin.visits[0].over()
        await until(lambda: not peer._connections)
        await exchange(peer)

    assert len(origin.visits) == 2


async def test_run_of_exchanges_costs_no_timer_each() -> None:
    loop, connection, _ = timed()
    for second in range(100):
        loop.wait_until(second / 100)

        assert answered(connection, loop.now + 3)

    assert len(loop.timers) == 1


async def test_deadline_and_idle_time_are_kept_whatever_the_timer_was_set_to() -> None:
    loop, connection, transport = timed()
    for now, deadline in [(0, 3), (2, 50), (10, 11), (30, 900), (80, 81)]:
        loop.wait_until(now)

        assert answered(connection, deadline)

    loop.wait_until(80 + FakeOwner.idle_seconds - 0.1)
    assert connection.is_open
    future = connection.start(b"GET / HTTP/1.1\r\n\r\n", b"", 200)
    loop.wait_until(199.9)
    assert not future.done()
    loop.wait_until(200)
    assert isinstance(future.exception(), DeadlineExceeded)
    assert transport.is_aborted


async def test_idle_connection_is_closed_then_and_not_before() -> None:
    loop, connection, transport = timed()

    assert answered(connection, 3)
    loop.wait_until(50)
    assert answered(connection, 53)
    loop.wait_until(109.9)
    assert not transport.is_closed
    loop.wait_until(110)
    assert transport.is_closed
    assert not connection.is_open

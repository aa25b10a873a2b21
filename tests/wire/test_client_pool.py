"""The pool of the client: limits, order and cancelling, against a real server on loopback."""

import asyncio

import pytest

from gateway.wire.client import (
    Unreachable,
)
from gateway.wire.client_connection import Connection
from tests.wire.origin import (  # noqa: F401 - the event loops
    HOST,
    OK,
    SHORT_SECONDS,
    Held,
    Origin,
    Visit,
    answering,
    anyio_backend,
    check_nothing_is_left,
    exchange,
    open_files,
    sending,
    serving,
    soon,
    spoken_to,
    until,
)

# Limits and order.


async def test_connection_used_last_is_used_next() -> None:
    held = Held()
    async with serving(held) as origin, spoken_to(origin) as peer:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange(peer))
            tasks.create_task(exchange(peer))
            await held.came(2)
            first, second = held.waiting
            held.answer()
            await until(lambda: len(peer._idle) == 1)
            held.answer()
        third = asyncio.gather(exchange(peer))
        await held.came(3)

        assert held.waiting == [second]
        assert first is not second
        held.answer()
        await third


@pytest.mark.parametrize("over", [-1, 0, 1, 10])
async def test_no_more_connections_than_the_limit(over: int) -> None:
    limit = 3
    held = Held()
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=limit) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        exchanges = [tasks.create_task(exchange(peer)) for _ in range(limit + over)]
        await held.came(min(limit, limit + over))

        assert origin.most_open == min(limit, limit + over)
        assert len(peer._waiting) == max(0, over)
        for number in range(limit + over):
            await held.came(number + 1)
            held.answer()

    assert [task.result().body for task in exchanges] == [b"ok"] * (limit + over)
    assert origin.most_open == len(origin.visits) == min(limit, limit + over)


async def test_oldest_waiter_is_next() -> None:
    held = Held()
    bodies = [b"%d" % number for number in range(6)]
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=1) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        for body in bodies:
            tasks.create_task(exchange(peer, body))
        for number in range(len(bodies)):
            await held.came(number + 1)
            held.answer()

    assert held.bodies == bodies
    assert len(origin.visits) == 1


async def test_newcomer_does_not_overtake_the_waiter_with_the_connection() -> None:
    held = Held()
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=1) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(exchange(peer, b"first"))
        tasks.create_task(exchange(peer, b"waiting"))
        await held.came(1)
        released = peer.release

        def release(connection: Connection) -> None:
            released(connection)
            tasks.create_task(exchange(peer, b"newcomer"))
            peer.release = released  # type: ignore[method-assign]

        peer.release = release  # type: ignore[method-assign]
        for number in range(3):
            await held.came(number + 1)
            held.answer()

    assert held.bodies == [b"first", b"waiting", b"newcomer"]


async def test_waiting_ends_at_the_deadline_and_nothing_is_sent() -> None:
    held = Held()
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=1) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(exchange(peer, b"first"))
        await held.came(1)
        with pytest.raises(Unreachable, match="none of 1 connections") as caught:
            await exchange(peer, b"late", seconds=SHORT_SECONDS)
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert not peer._waiting
        tasks.create_task(exchange(peer, b"second"))
        held.answer()
        await held.came(2)
        held.answer()

    assert held.bodies == [b"first", b"second"]


async def test_place_of_a_failed_connection_goes_to_the_oldest_waiter() -> None:
    async def script(origin: Origin, visit: Visit) -> None:
        _, body = await origin.answer(visit)
        if body == b"bad":
            visit.reset()
        else:
            visit.send(OK)
            await visit.gone()

    async with serving(script) as origin, spoken_to(origin, connections=1) as peer:
        outcomes = await asyncio.gather(
            exchange(peer, b"bad"),
            exchange(peer, b"bad"),
            exchange(peer, b"good"),
            return_exceptions=True,
        )

    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Interrupted",
        "Interrupted",
        "Reply",
    ]
    assert origin.most_open == 1


async def test_connection_lost_on_its_way_to_a_waiter_is_replaced() -> None:
    held = Held()
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=1) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(exchange(peer, b"first"))
        tasks.create_task(exchange(peer, b"waiting"))
        await held.came(1)
        released = peer.release

        def release(connection: Connection) -> None:
            released(connection)
            connection.abort()
            peer.release = released  # type: ignore[method-assign]

        peer.release = release  # type: ignore[method-assign]
        held.answer()
        await held.came(2)
        held.answer()

    assert held.bodies == [b"first", b"waiting"]
    assert len(origin.visits) == 2


# Cancelling.


async def test_cancelled_exchange_closes_its_connection() -> None:
    held = Held()
    async with serving(held) as origin, spoken_to(origin, connections=1) as peer:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(exchange(peer))
            await held.came(1)
            task.cancel()
        await origin.visits[0].over()
        await until(lambda: not peer._connections)

        assert task.cancelled()
        check_nothing_is_left(peer)


async def test_cancelled_waiter_leaves_the_queue() -> None:
    held = Held()
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=1) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(exchange(peer, b"first"))
        cancelled = tasks.create_task(exchange(peer, b"cancelled"))
        tasks.create_task(exchange(peer, b"last"))
        await held.came(1)
        cancelled.cancel()
        held.answer()
        await held.came(2)
        held.answer()

    assert held.bodies == [b"first", b"last"]


@pytest.mark.parametrize("has_another", [True, False])
@pytest.mark.parametrize("is_lost", [True, False])
async def test_waiter_cancelled_when_its_turn_came_passes_it_on(
    has_another: bool, is_lost: bool
) -> None:
    held = Held()
    async with serving(held) as origin, spoken_to(origin, connections=1) as peer:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange(peer, b"first"))
            cancelled = tasks.create_task(exchange(peer, b"cancelled"))
            await held.came(1)
            if has_another:
                tasks.create_task(exchange(peer, b"last"))
            await until(lambda: len(peer._waiting) == 1 + has_another)
            released = peer.release

            def release(connection: Connection) -> None:
                released(connection)
                cancelled.cancel()
                if is_lost:
                    connection.abort()
                peer.release = released  # type: ignore[method-assign]

            peer.release = release  # type: ignore[method-assign]
            held.answer()
            if has_another:
                await held.came(2)
                held.answer()
        await until(lambda: len(peer._idle) == (0 if is_lost and not has_another else 1))

    assert held.bodies == ([b"first", b"last"] if has_another else [b"first"])
    assert len(origin.visits) == (2 if is_lost and has_another else 1)


async def test_waiter_cancelled_when_it_got_a_place_passes_it_on() -> None:
    held = Held()
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=1) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        failing = tasks.create_task(exchange(peer, b"failing", seconds=20))
        cancelled = tasks.create_task(exchange(peer, b"cancelled"))
        tasks.create_task(exchange(peer, b"last"))
        await held.came(1)
        forget = peer.forget

        def forgetting(connection: Connection) -> None:
            forget(connection)
            cancelled.cancel()
            peer.forget = forget  # type: ignore[method-assign]

        peer.forget = forgetting  # type: ignore[method-assign]
        failing.cancel()
        await held.came(2)
        held.waiting.pop(0)
        held.answer()

    assert held.bodies == [b"failing", b"last"]


async def test_result_that_came_with_the_cancelling_leaves_the_connection_alone() -> None:
    held = Held()
    async with (
        serving(held) as origin,
        spoken_to(origin, connections=1) as peer,
        asyncio.TaskGroup() as tasks,
    ):
        cancelled = tasks.create_task(exchange(peer, b"cancelled"))
        tasks.create_task(exchange(peer, b"next"))
        await held.came(1)
        released = peer.release

        def release(connection: Connection) -> None:
            cancelled.cancel()
            released(connection)
            peer.release = released  # type: ignore[method-assign]

        peer.release = release  # type: ignore[method-assign]
        held.answer()
        await held.came(2)
        held.answer()

    assert cancelled.cancelled()
    assert len(origin.visits) == 1

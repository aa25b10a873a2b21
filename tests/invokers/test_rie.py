"""A pool of emulators: one invocation at a time each, even when one fails or a client leaves."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gateway.core import function_errors
from gateway.core.errors import (
    GatewayError,
    ServiceFailed,
    ServiceInterrupted,
    ServiceTimedOut,
    ServiceUnreachable,
    Throttled,
)
from gateway.invokers import rie
from gateway.invokers.rie import Emulator
from gateway.wire.client import Reply
from tests.invokers.emulators import World, world
from tests.invokers.gate import PATIENCE_SECONDS, REQUEST_ID, invocation
from tests.wire.origin import (
    ASYNCIO_ALONE,
    HOST,
    SHORT_SECONDS,
    Held,
    Origin,
    Scripted,
    Visit,
    answering,
    pass_time,
    sending,
    serving,
    spoken_to,
    until,
)

LONG_SECONDS = 60.0
"""Of the event loop's time, which a test moves."""


FAILING = b"HTTP/1.1 500 Any\r\nContent-Length: 0\r\n\r\n"


async def test_event_is_posted_as_the_emulator_wants_it() -> None:
    async with world(answering) as it:
        asked = invocation({"a": 1}, trace_id="Root=1", client_context="{}")
        result = await it.pool.invoke(asked)

    head, body = it.origins[0].requests[0]
    assert head.startswith(b"POST /2015-03-31/functions/function/invocations HTTP/1.1\r\n")
    assert b"\r\nX-Amzn-Trace-Id: Root=1\r\n" in head
    assert b"\r\nX-Amz-Client-Context: e30=\r\n" in head
    assert (body, result.payload, result.function_error) == (b'{"a": 1}', b"ok", "")


async def test_each_address_has_one_invocation_and_the_rest_are_throttled() -> None:
    held = Held(), Held()
    async with world(*held) as it, asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(it.call())
        await asyncio.gather(held[0].came(1), held[1].came(1))
        with pytest.raises(Throttled):
            await it.call()
        for each in held:
            each.answer()


async def test_oldest_waiter_gets_the_next_free_address() -> None:
    held = Held()
    settings = {"queue_timeout_seconds": PATIENCE_SECONDS}
    async with world(held, **settings) as it, asyncio.TaskGroup() as tasks:
        for event in range(3):
            tasks.create_task(it.call(event))
        for count in range(3):
            await held.came(count + 1)
            assert len(held.waiting) == 1
            held.answer()

    assert held.bodies == [b"0", b"1", b"2"]


async def test_waiting_has_an_end() -> None:
    held = Held()
    settings = {"queue_timeout_seconds": SHORT_SECONDS}
    async with world(held, **settings) as it, asyncio.TaskGroup() as tasks:
        tasks.create_task(it.call())
        await held.came(1)
        with pytest.raises(Throttled, match="all 1 emulators are busy; give another --rie"):
            await it.call()
        held.answer()


async def test_least_recently_failed_is_taken_first() -> None:
    async with world(sending(FAILING), answering, answering) as it:
        with pytest.raises(ServiceFailed, match="answered 500"):
            await it.call()
        for _ in range(2):
            await it.call()

    assert it.counts() == [1, 2, 0]


@asynccontextmanager
async def silent_port() -> AsyncIterator[socket.socket]:
    """Give a socket that does not listen yet."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound


@asynccontextmanager
async def half_dead_world(**settings: Any) -> AsyncIterator[tuple[World, socket.socket]]:
    """Run a pool whose first address refuses connections and whose second works."""
    async with AsyncExitStack() as stack:
        bound = await stack.enter_async_context(silent_port())
        origins = [Origin(), await stack.enter_async_context(serving(answering))]
        origins[0].port = bound.getsockname()[1]
        peers = [await stack.enter_async_context(spoken_to(origin)) for origin in origins]
        emulators = [
            Emulator(HOST, origin.port, peer) for origin, peer in zip(origins, peers, strict=True)
        ]
        found = World(origins, emulators, **settings)
        await stack.enter_async_context(found.pool)
        yield found, bound


async def test_address_that_refuses_is_passed_over() -> None:
    async with half_dead_world() as (it, _):
        results = [await it.call() for _ in range(3)]

    assert [result.payload for result in results] == [b"ok"] * 3
    assert it.counts() == [0, 3]
    assert len(it.said()) == 1
    assert f"the emulator at {HOST}:{it.origins[0].port} is out of use" in it.said()[0]


async def test_address_that_comes_back_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rie, "PROBE_SECONDS", SHORT_SECONDS)
    async with half_dead_world() as (it, bound):
        await it.call()
        bound.listen()
        await until(lambda: len(it.said()) == 2)

        assert "is in use again" in it.said()[1]
        assert len(it.pool._idle) == 2
        assert it.pool._leases.running == 0


async def test_address_stays_out_of_use_until_it_can_be_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rie, "PROBE_SECONDS", SHORT_SECONDS / 10)
    probes = 0
    async with half_dead_world() as (it, bound):
        await it.call()
        for _ in range(3):
            await until(lambda: it.pool._states[0].is_probed)
            await until(lambda: not it.pool._states[0].is_probed)
            probes += 1
        still_out = it.pool._states[0].is_out_of_use
        bound.listen()
        await until(lambda: not it.pool._states[0].is_out_of_use)

    assert probes == 3
    assert still_out
    assert len(it.said()) == 2


async def test_address_out_of_use_counts_as_taken() -> None:
    held = Held()
    async with half_dead_world() as (it, _):
        await it.call()
        async with serving(held) as origin, spoken_to(origin) as peer:
            it.pool._states[1].emulator = Emulator(HOST, origin.port, peer)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(it.call())
                await held.came(1)
                with pytest.raises(Throttled):
                    await it.call()
                held.answer()


async def test_none_can_be_reached() -> None:
    async with AsyncExitStack() as stack:
        emulators = []
        for _ in range(2):
            bound = await stack.enter_async_context(silent_port())
            origin = Origin()
            origin.port = bound.getsockname()[1]
            peer = await stack.enter_async_context(spoken_to(origin))
            emulators.append(Emulator(HOST, origin.port, peer))
        it = World([], emulators, queue_timeout_seconds=PATIENCE_SECONDS)
        await stack.enter_async_context(it.pool)
        for _ in range(2):
            with pytest.raises(ServiceUnreachable, match="none of 2 emulators can be reached"):
                await it.call()

    assert len(it.said()) == 2


async def resetting(origin: Origin, visit: Visit) -> None:
    origin.requests.append(await visit.request())
    visit.reset()


async def test_what_may_have_started_is_not_sent_to_another_address() -> None:
    async with world(resetting, answering) as it:
        with pytest.raises(ServiceInterrupted):
            await it.call()
        counts = it.counts()
        again = await it.call()

    assert counts == [1, 0]
    assert again.payload == b"ok"
    assert "is out of use" in it.said()[0]


async def test_address_is_busy_until_it_answers_though_its_caller_has_left() -> None:
    held = Held()
    async with world(held) as it:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_SECONDS):
                await it.call("left")
        with pytest.raises(Throttled):
            await it.call("too early")
        held.answer()
        await until(lambda: not it.pool._leases.running)
        async with asyncio.TaskGroup() as tasks:
            second = tasks.create_task(it.call("second"))
            await held.came(2)
            held.answer()

    assert held.bodies == [b'"left"', b'"second"']
    assert second.result().payload == b"ok"


@ASYNCIO_ALONE
async def test_function_that_runs_too_long_is_answered_for_and_its_address_stays_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held()
    async with world(held, timeout_seconds=LONG_SECONDS) as it:
        late = asyncio.get_running_loop().create_task(it.call())
        await held.came(1)
        pass_time(monkeypatch, LONG_SECONDS)
        result = await late
        with pytest.raises(Throttled):
            await it.call()
        held.answer()
        await until(lambda: not it.pool._leases.running)

    assert result.function_error == "Unhandled"
    assert result.payload == function_errors.timed_out(REQUEST_ID, LONG_SECONDS)


@ASYNCIO_ALONE
async def test_emulator_that_never_answers_goes_out_of_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rie, "LONGEST_SECONDS", LONG_SECONDS)
    held = Held()
    async with world(held, timeout_seconds=LONG_SECONDS * 2) as it:
        failing = asyncio.get_running_loop().create_task(it.call())
        await held.came(1)
        pass_time(monkeypatch, LONG_SECONDS)
        with pytest.raises(ServiceTimedOut):
            await failing

    assert "is out of use" in it.said()[0]


async def test_stop_breaks_off_what_runs() -> None:
    held = Held()
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(world(held))
        running = asyncio.get_running_loop().create_task(it.call())
        await held.came(1)
    outcome = (await asyncio.gather(running, return_exceptions=True))[0]

    assert isinstance(outcome, ServiceInterrupted)
    with pytest.raises(Throttled, match="stopping"):
        await it.call()


async def test_stop_breaks_off_what_has_not_begun() -> None:
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(world(answering))
        running = asyncio.get_running_loop().create_task(it.call())
        await until(lambda: it.pool._running)
        await it.pool.__aexit__()
        async with asyncio.timeout(PATIENCE_SECONDS):
            outcome = (await asyncio.gather(running, return_exceptions=True))[0]
        await it.pool.__aenter__()  # for the block's own end

    assert isinstance(outcome, ServiceInterrupted)
    assert it.counts() == [0]


class Broken:
    """An origin with a bug."""

    authority = b"broken"

    async def exchange(self, *_arguments: Any, **_times: float) -> Reply:
        raise ValueError("a bug")

    async def reach(self, *, deadline: float) -> None:
        raise ValueError("a bug")


async def test_bug_reaches_the_caller_and_frees_the_address() -> None:
    it = World([], [Emulator(HOST, 1, Broken())])
    async with it.pool:
        for _ in range(2):
            with pytest.raises(ValueError, match="a bug"):
                await it.call()

    assert it.pool._leases.running == 0


async def test_no_address_ever_has_two() -> None:
    """A crowd that comes, waits and leaves; every server watches for a second request."""
    running = [0, 0, 0]
    most = [0, 0, 0]

    def watching(number: int) -> Scripted:
        async def script(origin: Origin, visit: Visit) -> None:
            while True:
                request = await visit.request()
                origin.requests.append(request)
                running[number] += 1
                most[number] = max(most[number], running[number])
                await asyncio.to_thread(lambda: None)
                running[number] -= 1
                visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")

        return script

    async def call(it: World, number: int) -> str:
        try:
            async with asyncio.timeout(0.002 * (number % 5) or None):
                return (await it.call(number)).payload.decode()
        except (TimeoutError, GatewayError) as error:
            return type(error).__name__

    scripts = [watching(number) for number in range(3)]
    async with world(*scripts, queue_timeout_seconds=PATIENCE_SECONDS) as it:
        found = await asyncio.gather(*(call(it, number) for number in range(100)))
        await until(lambda: not it.pool._leases.running)
        idle = len(it.pool._idle)

    assert most == [1, 1, 1]
    assert found.count("1") >= 20
    assert set(found) <= {"1", "TimeoutError"}
    assert idle == 3

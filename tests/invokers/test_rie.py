"""A pool of emulators: one invocation at a time each, even when one fails or a client leaves."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
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
from gateway.core.invocation import InvocationResult
from gateway.invokers import rie
from gateway.invokers.rie import Emulator, RiePool, RieSettings, result_of
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeSink
from gateway.wire.client import Peer, Reply, Unreachable
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


class World:
    """A pool over servers of the test's own."""

    def __init__(self, origins: list[Origin], emulators: list[Emulator], **settings: Any) -> None:
        self.origins = origins
        self.sink = FakeSink()
        self.pool = RiePool(emulators, RieSettings(**settings), clock=SystemClock(), sink=self.sink)

    async def call(self, event: Any = None) -> InvocationResult:
        return await self.pool.invoke(invocation(event))

    def counts(self) -> list[int]:
        """Return how many requests each server has answered."""
        return [len(origin.requests) for origin in self.origins]

    def said(self) -> list[str]:
        return [str(notice) for notice in self.sink.notices]


@asynccontextmanager
async def world(*scripts: Scripted, **settings: Any) -> AsyncIterator[World]:
    """Run a pool over a server for each script."""
    async with AsyncExitStack() as stack:
        origins, emulators = [], []
        for script in scripts:
            origin = await stack.enter_async_context(serving(script))
            peer = await stack.enter_async_context(spoken_to(origin))
            origins.append(origin)
            emulators.append(Emulator(HOST, origin.port, peer))
        found = World(origins, emulators, **settings)
        await stack.enter_async_context(found.pool)
        yield found


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


ERROR = b'{"errorMessage":"no","errorType":"ValueError","requestId":"","stackTrace":[]}'
EXIT_ERROR = b'{"errorType":"Runtime.ExitError","errorMessage":"x"}'


@pytest.mark.parametrize(
    ("status", "body", "payload", "error"),
    [
        (200, b'{"statusCode":200}', b'{"statusCode":200}', ""),
        (200, b"null", b"null", ""),
        (200, b"", b"", ""),
        (200, ERROR, ERROR, "Unhandled"),
        (200, b'{"statusCode":200,"errorType":"a"}', b'{"statusCode":200,"errorType":"a"}', ""),
        (200, b'{"errorType":1}', b'{"errorType":1}', ""),
        (200, b'["\\"errorType\\"","errorType"]', b'["\\"errorType\\"","errorType"]', ""),
        (200, b'{"errorType"', b'{"errorType"', ""),
        (
            *(200, b"Task timed out after 3.00 seconds"),
            *(function_errors.timed_out(REQUEST_ID, 3.0), "Unhandled"),
        ),
        (502, EXIT_ERROR, EXIT_ERROR, "Unhandled"),
        (502, b"", function_errors.exited(REQUEST_ID, None), "Unhandled"),
    ],
)
def test_reply_becomes_what_aws_would_answer(
    status: int, body: bytes, payload: bytes, error: str
) -> None:
    result = result_of(Reply(status, [], body), invocation(), "it")

    assert (result.payload, result.function_error) == (payload, error)


@pytest.mark.parametrize(
    ("status", "hint"), [(400, "one invocation at a time"), (404, "no Runtime"), (504, "504$")]
)
def test_reply_of_nobodys_function_is_a_failure(status: int, hint: str) -> None:
    with pytest.raises(ServiceFailed, match=rf"it answered {status}.*{hint}|{hint}"):
        result_of(Reply(status, [], b""), invocation(), "it")


class Silent:
    """An emulator that accepts no connection in time."""

    authority = b"silent"

    def __init__(self) -> None:
        self.start_by: list[float] = []

    async def exchange(
        self, *_arguments: Any, deadline: float, start_by: float = math.inf
    ) -> Reply:
        self.start_by.append(start_by)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(start_by):
                await asyncio.get_running_loop().create_future()
        raise Unreachable("silent") from TimeoutError()

    async def reach(self, *, deadline: float) -> None:
        raise Unreachable("silent")


async def test_all_attempts_share_one_deadline_and_nothing_is_sent_after_it() -> None:
    silent = [Silent(), Silent(), Silent()]
    emulators = [Emulator("silent", 1, each) for each in silent]
    async with World([], emulators, timeout_seconds=SHORT_SECONDS).pool as pool:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with suppress(GatewayError):
            await pool.invoke(invocation())
        asked = [moment for each in silent for moment in each.start_by]

    assert max(asked) <= before + 2 * SHORT_SECONDS
    assert len(set(asked)) == 1


async def test_malformed_name_does_not_end_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up `a..b` raises UnicodeError, which is not an OSError."""
    monkeypatch.setattr(rie, "PROBE_SECONDS", SHORT_SECONDS)
    async with Peer("http", "a..b", 9000) as peer:
        it = World([], [Emulator("a..b", 9000, peer)])
        async with it.pool:
            for _ in range(2):
                with pytest.raises(ServiceUnreachable):
                    await it.call()
            await asyncio.wait_for(until(lambda: it.pool._states[0].is_probed), PATIENCE_SECONDS)
            await asyncio.wait_for(
                until(lambda: not it.pool._states[0].is_probed), PATIENCE_SECONDS
            )
            with pytest.raises(ServiceUnreachable):
                await it.call()


async def test_waiter_for_what_is_out_of_use_is_told_so() -> None:
    held = Held()
    async with world(held, queue_timeout_seconds=SHORT_SECONDS) as it, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(outcome_of(it))
        await held.came(1)
        second = tasks.create_task(outcome_of(it))
        it.pool._states[0].is_out_of_use = True
        assert await second is ServiceUnreachable
        it.pool._states[0].is_out_of_use = False
        held.answer()
        assert await first is InvocationResult


async def outcome_of(it: World) -> type:
    """Return what a call came to."""
    try:
        return type(await it.call())
    except GatewayError as error:
        return type(error)

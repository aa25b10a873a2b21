"""Deadlines, limits and callers that leave, with the threads that they leave behind."""

import asyncio
from typing import Any

import pytest

from gateway.core.errors import Throttled
from gateway.invokers import in_process as module
from gateway.invokers.in_process import ABANDONED_LIMIT, WAITING_LIMIT, InProcess
from gateway.telemetry.system import turns_of_the_loop
from tests.invokers.gate import (
    REQUEST_ID,
    TIMEOUT_SECONDS,
    Gate,
    Time,
    Workers,
    echo,
    error,
    in_process,
    invocation,
    outcome,
    stuck_or,
    timed,
    timed_out,
)


async def test_timeout_is_answered_while_the_handler_is_still_running(gate: Gate) -> None:
    """With the loop's own timers; all other tests of deadlines move time themselves."""
    async with in_process(gate, timeout_seconds=0.2) as invoker:
        result = await invoker.invoke(invocation())

    assert error(result) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {REQUEST_ID} Error: Task timed out after 0.20 seconds",
    }
    assert result.billed_ms == 200


async def test_timeout_counts_from_the_start_of_the_run(gate: Gate) -> None:
    async with timed(gate) as (invoker, time), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(invoker.invoke(invocation("first")))
        second = tasks.create_task(invoker.invoke(invocation("second")))
        await gate.wait_begun()
        time.advance(2.0)
        gate.let_one_pass()
        await first
        await gate.wait_begun()  # two seconds of its timeout have gone by
        time.advance(2.5)
        was_running = not second.done()
        time.advance(0.5)
        result = await second

    assert was_running
    assert error(result)["errorType"] == "Sandbox.Timedout"


async def test_stuck_thread_is_replaced(gate: Gate) -> None:
    async with timed(stuck_or(echo, gate)) as (invoker, time):
        await timed_out(invoker, time, gate)
        result = await invoker.invoke(invocation("free"))

    assert result.payload == b'"free"'


async def test_thread_that_comes_back_leaves_as_many_as_there_were(gate: Gate) -> None:
    workers = Workers()

    async with (
        asyncio.TaskGroup() as tasks,
        timed(stuck_or(echo, gate), threads=2) as (invoker, time),
    ):
        await timed_out(invoker, time, gate)
        replaced = workers.alive()
        gate.open()
        await workers.wait_one_ends(tasks)
        left = workers.alive()
        result = await invoker.invoke(invocation("free"))

    assert (len(replaced), len(left)) == (3, 2)
    assert result.payload == b'"free"'


async def test_thread_stuck_without_a_caller_is_replaced_too(gate: Gate) -> None:
    async with timed(stuck_or(echo, gate)) as (invoker, time):
        async with asyncio.TaskGroup() as tasks:
            caller = tasks.create_task(invoker.invoke(invocation("stuck")))
            await gate.wait_begun()
            caller.cancel()
        time.advance(TIMEOUT_SECONDS)
        result = await invoker.invoke(invocation("free"))

    assert caller.cancelled()
    assert result.payload == b'"free"'


async def test_thread_that_comes_back_after_the_end_stops(gate: Gate) -> None:
    workers = Workers()

    async with timed(gate) as (invoker, time):
        await timed_out(invoker, time, gate)
    gate.open()
    await asyncio.to_thread(workers.join)

    assert not workers.alive()


def test_thread_that_comes_back_after_its_loop_has_gone_stops(gate: Gate) -> None:
    async def main() -> None:
        async with timed(gate) as (invoker, time):
            await timed_out(invoker, time, gate)

    workers = Workers()

    asyncio.run(main())
    gate.open()
    workers.join()

    assert not workers.alive()


async def test_workers_stop_at_the_end() -> None:
    workers = Workers()

    async with in_process(echo, threads=3):
        count = len(workers.alive())
    await asyncio.to_thread(workers.join)

    assert count == 3
    assert not workers.alive()


# Limits


async def test_invocation_is_refused_while_too_many_threads_are_stuck(gate: Gate) -> None:
    async with timed(stuck_or(echo, gate), threads=ABANDONED_LIMIT) as (invoker, time):
        await timed_out(invoker, time, gate, ABANDONED_LIMIT - 1)
        at_the_limit = await invoker.invoke(invocation("free"))
        await timed_out(invoker, time, gate)
        with pytest.raises(Throttled, match=r"^32 threads are stuck in app\.handler, past its "):
            await invoker.invoke(invocation("free"))

    assert at_the_limit.payload == b'"free"'


async def test_thread_that_comes_back_makes_room(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ABANDONED_LIMIT", 1)
    workers = Workers()

    async with (
        asyncio.TaskGroup() as tasks,
        timed(stuck_or(echo, gate)) as (invoker, time),
    ):
        await timed_out(invoker, time, gate)
        with pytest.raises(Throttled):
            await invoker.invoke(invocation("free"))
        gate.open()
        await workers.wait_one_ends(tasks)
        result = await invoker.invoke(invocation("free"))

    assert result.payload == b'"free"'


async def test_invocation_waits_for_a_thread(gate: Gate) -> None:
    async with timed(gate) as (invoker, _), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(invoker.invoke(invocation(name))) for name in "ab"]
        await gate.wait_begun()
        calls = gate.calls
        gate.open()

    assert calls == 1
    assert [task.result().payload for task in running] == [b'"a"', b'"b"']


async def test_invocation_over_the_waiting_limit_is_refused_at_once(gate: Gate) -> None:
    async with timed(gate) as (invoker, _), asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(invoker.invoke(invocation(number)))
            for number in range(1 + WAITING_LIMIT)
        ]
        await gate.wait_begun()
        with pytest.raises(Throttled, match=r"^1000 invocations are waiting for app\.handler"):
            await invoker.invoke(invocation())
        gate.open()

    assert waiting[-1].result().payload == b"1000"


Outcome = asyncio.Task[bytes | Throttled]


async def one_that_runs_and_one_that_waits(
    invoker: InProcess, time: Time, gate: Gate, tasks: asyncio.TaskGroup
) -> tuple[Outcome, Outcome]:
    """Bring two invocations so far that the second one's time ends before the first one's."""
    before = tasks.create_task(outcome(invoker, "before"))
    await gate.wait_begun()
    runs = tasks.create_task(outcome(invoker, "runs"))
    time.advance(1.0)
    waits = tasks.create_task(outcome(invoker, "waits"))
    await turns_of_the_loop(1)  # now it waits, with three seconds left
    time.advance(1.0)
    gate.let_one_pass()
    await before
    await gate.wait_begun()  # now it runs, with three seconds left; the other one has two
    return runs, waits


async def test_invocation_that_no_thread_takes_in_time_is_refused_and_never_runs(
    gate: Gate,
) -> None:
    async with timed(gate) as (invoker, time):
        async with asyncio.TaskGroup() as tasks:
            runs, waits = await one_that_runs_and_one_that_waits(invoker, time, gate, tasks)
            time.advance(2.0)
            refusal = await waits
            gate.open()
        await outcome(invoker, "after")

    assert str(refusal) == "all 1 threads were busy in app.handler for 3 s; raise --concurrency"
    assert runs.result() == b'"runs"'
    assert gate.calls == 3


# Callers that leave


async def test_cancelled_caller_does_not_stop_the_run(gate: Gate) -> None:
    done: list[Any] = []

    def handler(event: Any, context: Any) -> None:
        done.append(gate(event, context))

    async with timed(handler) as (invoker, _):
        async with asyncio.TaskGroup() as tasks:
            callers = [tasks.create_task(outcome(invoker, name)) for name in "ab"]
            await gate.wait_begun()
            for caller in callers:  # one runs, one waits for the thread
                caller.cancel()
        gate.open()
        await outcome(invoker, "c")
        pending = invoker._in_flight

    assert [caller.cancelled() for caller in callers] == [True, True]
    assert done == ["a", "b", "c"]
    assert pending == 0


async def test_nothing_is_pending_after_a_caller_left_that_no_thread_took_in_time(
    gate: Gate,
) -> None:
    async with timed(gate) as (invoker, time):
        async with asyncio.TaskGroup() as tasks:
            _, waits = await one_that_runs_and_one_that_waits(invoker, time, gate, tasks)
            waits.cancel()
            await turns_of_the_loop(1)
            time.advance(2.0)
            gate.open()
        await outcome(invoker, "after")
        pending = invoker._in_flight

    assert waits.cancelled()
    assert (pending, gate.calls) == (0, 3)


async def test_nothing_is_pending_after_a_timeout(gate: Gate) -> None:
    workers = Workers()

    async with asyncio.TaskGroup() as tasks, timed(gate) as (invoker, time):
        await timed_out(invoker, time, gate)
        pending = invoker._in_flight
        gate.open()
        await workers.wait_one_ends(tasks)
        pending_after = invoker._in_flight

    assert (pending, pending_after) == (0, 0)


async def test_runs_that_end_while_the_loop_is_busy_are_counted_once(gate: Gate) -> None:
    """Both deadlines are looked at before the loop hears that the first run has ended."""
    workers = Workers()

    async with (
        asyncio.TaskGroup() as tasks,
        timed(stuck_or(echo, gate)) as (invoker, time),
    ):
        waiting = [tasks.create_task(outcome(invoker, name)) for name in ("fast", "stuck")]
        await turns_of_the_loop(1)  # both are asked for; from here on the loop does nothing else
        gate.wait_begun_here()
        time.advance(TIMEOUT_SECONDS)
        await asyncio.wait(waiting)
        abandoned = len(invoker._abandoned)
        gate.open()
        await workers.wait_one_ends(tasks)
        free = await outcome(invoker, "free")

    assert abandoned == 1
    assert free == b'"free"'

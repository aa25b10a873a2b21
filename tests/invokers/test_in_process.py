"""Handlers on worker threads and on the event loop, through everything that a handler can do."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.core.errors import Throttled
from gateway.core.interfaces import Clock
from gateway.core.invocation import FunctionRef, Invocation, InvocationResult
from gateway.invokers import in_process as module
from gateway.invokers.capture import captured_streams, current_request_id
from gateway.invokers.code import Handler
from gateway.invokers.in_process import (
    ABANDONED_LIMIT,
    WAITING_LIMIT,
    InProcess,
    InProcessSettings,
)
from gateway.runtime import bootstrap
from gateway.runtime.bootstrap import FunctionSettings, InitError, LambdaContext
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeClock

PATIENCE_SECONDS = 5.0
"""How long a test waits for what must happen before it fails."""

SHORT_SECONDS = 0.05

REQUEST_ID = "8dfd2e43-6b43-4a3c-9d0e-2f6f1b3c7a10"
ARN = "arn:aws:lambda:eu-west-1:111122223333:function:shop"
FUNCTION = FunctionSettings(function_name="shop", memory_limit_in_mb="128")

BASE_EXCEPTIONS = [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both loops: they order timers and callbacks of other threads differently."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(autouse=True)
def trace_id_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the process its own variable back."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")


def invocation(event: Any = None, **fields: Any) -> Invocation:
    payload = json.dumps(event).encode()
    return Invocation(REQUEST_ID, FunctionRef("shop", "", ARN), payload, **fields)


def in_process(
    handler: Handler | InitError,
    *,
    threads: int = 1,
    timeout_seconds: float = 30.0,
    clock: Clock | None = None,
) -> InProcess:
    settings = InProcessSettings("app.handler", timeout_seconds, threads)
    return InProcess(settings, handler, function=FUNCTION, clock=clock or SystemClock())


def echo(event: Any, context: Any) -> Any:
    return event


class Gate:
    """A handler that says when it has begun, waits to be let through and answers its event."""

    def __init__(self) -> None:
        self.calls = 0
        self._begun = threading.Semaphore(0)
        self._opened = threading.Event()

    def __call__(self, event: Any, context: Any) -> Any:
        self.calls += 1
        self._begun.release()
        assert self._opened.wait(PATIENCE_SECONDS)
        return event

    async def wait_begun(self, times: int = 1) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._begun.acquire, timeout=PATIENCE_SECONDS)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open at the end, whatever became of the test."""
    gate = Gate()
    yield gate
    gate.open()


class Workers:
    """The worker threads that started since this was made."""

    def __init__(self) -> None:
        self._others = set(threading.enumerate())

    def alive(self) -> set[threading.Thread]:
        return {
            thread
            for thread in threading.enumerate()
            if thread.name == "handler" and thread not in self._others
        }

    def join(self) -> None:
        for thread in self.alive():
            thread.join(PATIENCE_SECONDS)

    async def wait_one_ends(self, tasks: asyncio.TaskGroup) -> None:
        """Wait for whichever ends first; the tasks last until all have ended."""
        joining = [asyncio.to_thread(thread.join, PATIENCE_SECONDS) for thread in self.alive()]
        endings = [tasks.create_task(join) for join in joining]
        await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)


def stuck_or(handler: Handler, gate: Gate) -> Handler:
    """Return a handler that is held up by the gate for the event "stuck" alone."""
    return lambda event, context: (gate if event == "stuck" else handler)(event, context)


def error(result: InvocationResult) -> dict[str, Any]:
    assert result.function_error == "Unhandled"
    found: dict[str, Any] = json.loads(result.payload)
    return found


# What comes back


def raises(event: Any, context: Any) -> Any:
    raise ValueError("boom")


def exits(event: Any, context: Any) -> Any:
    sys.exit("no more")


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize(
    "handler", [echo, raises, exits, lambda event, context: {1, 2}, lambda event, context: 2.50]
)
async def test_result_is_the_bootstraps(handler: Callable[..., Any], threads: int) -> None:
    asked = invocation({"name": "Ada \u00fc"})
    context = LambdaContext(FUNCTION, REQUEST_ID, 0, ARN)
    expected = bootstrap.invoke(handler, asked.payload, context, FUNCTION)

    async with in_process(handler, threads=threads) as invoker:
        result = await invoker.invoke(asked)

    assert (result.payload, result.function_error) == (expected.payload, expected.function_error)


async def test_payload_that_is_no_json_is_a_function_error() -> None:
    asked = Invocation(REQUEST_ID, FunctionRef("shop", "", ARN), b"{")

    async with in_process(echo) as invoker:
        result = await invoker.invoke(asked)

    assert error(result)["errorType"] == "Runtime.UnmarshalError"


async def test_handler_runs_on_the_calling_thread_without_workers() -> None:
    def thread(event: Any, context: Any) -> int:
        return threading.get_ident()

    async with in_process(thread, threads=0) as invoker:
        result = await invoker.invoke(invocation())

    assert json.loads(result.payload) == threading.get_ident()


async def test_context_tells_of_this_invocation() -> None:
    def describe(event: Any, context: Any) -> list[Any]:
        return [context.aws_request_id, context.invoked_function_arn, context.function_name]

    async with in_process(describe) as invoker:
        result = await invoker.invoke(invocation())

    assert json.loads(result.payload) == [REQUEST_ID, ARN, "shop"]


@pytest.mark.parametrize(("deadline_ms", "expected"), [(0, 1_700_000_030_000), (123, 123)])
async def test_deadline_is_the_invocations_or_the_timeout_from_now(
    deadline_ms: int, expected: int
) -> None:
    def deadline(event: Any, context: Any) -> Any:
        return context._epoch_deadline_time_in_ms

    async with in_process(deadline, clock=FakeClock(1_700_000_000.0)) as invoker:
        result = await invoker.invoke(invocation(deadline_ms=deadline_ms))

    assert json.loads(result.payload) == expected


async def test_remaining_time_counts_down_from_the_timeout() -> None:
    def remaining(event: Any, context: Any) -> Any:
        return context.get_remaining_time_in_millis()

    async with in_process(remaining, timeout_seconds=30.0) as invoker:
        result = await invoker.invoke(invocation())

    assert 20_000 < json.loads(result.payload) <= 30_000


async def test_billed_time_is_that_of_the_run_rounded_up() -> None:
    clock = FakeClock()

    async with in_process(lambda event, context: clock.advance(1.2505), clock=clock) as invoker:
        result = await invoker.invoke(invocation())

    assert result.billed_ms == 1251


@pytest.mark.parametrize("threads", [0, 1])
async def test_init_error_answers_every_invocation(threads: int) -> None:
    fault = InitError("Runtime.ImportModuleError", "Unable to import module 'app'", ["  line\n"])

    async with in_process(fault, threads=threads) as invoker:
        results = [await invoker.invoke(invocation()) for _ in range(2)]

    assert [error(result) for result in results] == [
        {
            "errorMessage": "Unable to import module 'app'",
            "errorType": "Runtime.ImportModuleError",
            "requestId": "",
            "stackTrace": ["  line\n"],
        }
    ] * 2


async def test_running_invocation_keeps_the_old_handler(gate: Gate) -> None:
    async with in_process(gate) as invoker, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(invoker.invoke(invocation("old")))
        await gate.wait_begun()
        invoker.replace(lambda event, context: "new")
        gate.open()
        old, new = await running, await invoker.invoke(invocation("old"))

    assert (old.payload, new.payload) == (b'"old"', b'"new"')


# The trace id


def seen_trace_id(event: Any, context: Any) -> Any:
    return os.environ.get("_X_AMZN_TRACE_ID")


async def test_trace_id_is_in_the_environment() -> None:
    async with in_process(seen_trace_id) as invoker:
        result = await invoker.invoke(invocation(trace_id="Root=1-2-3"))

    assert result.payload == b'"Root=1-2-3"'


@pytest.mark.parametrize("trace_id", ["", "Root=\0"])
async def test_environment_holds_no_trace_id_of_another_invocation(trace_id: str) -> None:
    async with in_process(seen_trace_id) as invoker:
        result = await invoker.invoke(invocation(trace_id=trace_id))

    assert result.payload == b"null"


# Output


async def test_output_belongs_to_the_invocation_that_wrote_it() -> None:
    together = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def chatter(event: Any, context: Any) -> None:
        for turn in range(3):
            together.wait()
            print(event, turn)
            print(event, "error", turn, file=sys.stderr)

    with captured_streams():
        async with in_process(chatter, threads=2) as invoker:
            a, b = await asyncio.gather(*[invoker.invoke(invocation(name)) for name in "ab"])

    assert a.log == "a 0\na error 0\na 1\na error 1\na 2\na error 2\n"
    assert b.log == a.log.replace("a", "b")


@pytest.mark.parametrize("threads", [0, 1])
async def test_nothing_is_captured_after_the_run(threads: int) -> None:
    seen: list[str] = []

    async with in_process(lambda event, context: None, threads=threads) as invoker:
        await invoker.invoke(invocation())
        seen.append(current_request_id())

    assert seen == [""]


async def test_exception_is_in_the_output_as_aws_logs_it() -> None:
    async with in_process(raises) as invoker:
        result = await invoker.invoke(invocation())

    head, trace = result.log.split("\n", 1)
    assert head == "[ERROR] ValueError: boom"
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith('raise ValueError("boom")\n')


async def test_output_before_a_timeout_is_kept(gate: Gate) -> None:
    def chatter(event: Any, context: Any) -> Any:
        print("so far")
        return gate(event, context)

    with captured_streams():
        async with in_process(chatter, timeout_seconds=SHORT_SECONDS) as invoker:
            result = await invoker.invoke(invocation())

    assert result.log == "so far\n"


# Handlers that try to end things


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("ending", BASE_EXCEPTIONS, ids=lambda ending: type(ending).__name__)
async def test_handler_that_exits_ends_neither_worker_nor_process(
    ending: BaseException, threads: int
) -> None:
    def handler(event: Any, context: Any) -> int:
        if event == "exit":
            raise ending
        return threading.get_ident()

    async with in_process(handler, threads=threads) as invoker:
        before = await invoker.invoke(invocation())
        result = await invoker.invoke(invocation("exit"))
        after = await invoker.invoke(invocation())

    assert error(result)["errorType"] == "Runtime.ExitError"
    assert after.payload == before.payload


class Deadly:
    """What cannot even be shown."""

    def __str__(self) -> str:
        raise SystemExit


class DeadlyCode(int):
    """An exit status that cannot be computed with."""

    def __and__(self, other: object) -> int:
        raise SystemExit


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("code", [Deadly(), DeadlyCode(1)])
async def test_exit_whose_reason_raises_is_an_answer_like_any_other(
    code: Any, threads: int
) -> None:
    def handler(event: Any, context: Any) -> Any:
        if event == "exit":
            sys.exit(code)
        return event

    async with in_process(handler, threads=threads) as invoker:
        result = await invoker.invoke(invocation("exit"))
        after = await invoker.invoke(invocation("well"))

    assert error(result)["errorType"] == "Runtime.ExitError"
    assert after.payload == b'"well"'


# Deadlines


async def test_timeout_is_answered_while_the_handler_is_still_running(gate: Gate) -> None:
    async with in_process(gate, timeout_seconds=SHORT_SECONDS) as invoker:
        result = await invoker.invoke(invocation())

    assert error(result) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {REQUEST_ID} Error: Task timed out after 0.05 seconds",
    }
    assert result.billed_ms == 50


async def test_stuck_thread_is_replaced(gate: Gate) -> None:
    handler = stuck_or(echo, gate)

    async with in_process(handler, threads=1, timeout_seconds=SHORT_SECONDS) as invoker:
        await invoker.invoke(invocation("stuck"))
        result = await invoker.invoke(invocation("free"))

    assert result.payload == b'"free"'


async def test_thread_that_comes_back_leaves_as_many_as_there_were(gate: Gate) -> None:
    workers = Workers()
    settings = {"threads": 2, "timeout_seconds": SHORT_SECONDS}

    async with (
        asyncio.TaskGroup() as tasks,
        in_process(stuck_or(echo, gate), **settings) as invoker,
    ):
        await invoker.invoke(invocation("stuck"))
        replaced = workers.alive()
        gate.open()
        await workers.wait_one_ends(tasks)
        left = workers.alive()
        result = await invoker.invoke(invocation("free"))

    assert (len(replaced), len(left)) == (3, 2)
    assert result.payload == b'"free"'


async def test_timeout_counts_from_the_start_of_the_run(gate: Gate) -> None:
    """The clock stands still, so whoever runs has not used any of its time."""
    clock = FakeClock()

    async with (
        in_process(gate, timeout_seconds=SHORT_SECONDS, clock=clock) as invoker,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(invoker.invoke(invocation("in time")))
        await gate.wait_begun()
        with pytest.raises(Throttled):  # a whole timeout goes by
            await invoker.invoke(invocation())
        gate.open()

    assert running.result().payload == b'"in time"'


async def test_thread_stuck_without_a_caller_is_replaced_too(gate: Gate) -> None:
    workers = Workers()
    settings = {"threads": 2, "timeout_seconds": SHORT_SECONDS}

    async with (
        in_process(stuck_or(echo, gate), **settings) as invoker,
        asyncio.TaskGroup() as tasks,
    ):
        caller = tasks.create_task(invoker.invoke(invocation("stuck")))
        await gate.wait_begun()
        caller.cancel()
        await invoker.invoke(invocation("stuck"))  # and so past the deadline of the first
        count = len(workers.alive())

    assert count == 4


async def test_thread_that_comes_back_after_the_end_stops(gate: Gate) -> None:
    workers = Workers()

    async with in_process(gate, timeout_seconds=SHORT_SECONDS) as invoker:
        await invoker.invoke(invocation())
    gate.open()
    await asyncio.to_thread(workers.join)

    assert not workers.alive()


def test_thread_that_comes_back_after_its_loop_has_gone_stops(gate: Gate) -> None:
    async def main() -> None:
        async with in_process(gate, timeout_seconds=SHORT_SECONDS) as invoker:
            await invoker.invoke(invocation())

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
    settings = {"threads": ABANDONED_LIMIT, "timeout_seconds": SHORT_SECONDS}

    async with in_process(stuck_or(echo, gate), **settings) as invoker:
        stuck = [invoker.invoke(invocation("stuck")) for _ in range(ABANDONED_LIMIT - 1)]
        await asyncio.gather(*stuck)
        at_the_limit = await invoker.invoke(invocation("free"))
        await invoker.invoke(invocation("stuck"))
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
        in_process(stuck_or(echo, gate), timeout_seconds=SHORT_SECONDS) as invoker,
    ):
        await invoker.invoke(invocation("stuck"))
        with pytest.raises(Throttled):
            await invoker.invoke(invocation("free"))
        gate.open()
        await workers.wait_one_ends(tasks)
        result = await invoker.invoke(invocation("free"))

    assert result.payload == b'"free"'


async def test_invocation_waits_for_a_thread(gate: Gate) -> None:
    async with in_process(gate) as invoker, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(invoker.invoke(invocation(name))) for name in "ab"]
        await gate.wait_begun()
        calls = gate.calls
        gate.open()

    assert calls == 1
    assert [task.result().payload for task in running] == [b'"a"', b'"b"']


async def test_invocation_over_the_waiting_limit_is_refused_at_once(gate: Gate) -> None:
    async with in_process(gate) as invoker, asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(invoker.invoke(invocation(number)))
            for number in range(1 + WAITING_LIMIT)
        ]
        await gate.wait_begun()
        with pytest.raises(Throttled, match=r"^1000 invocations are waiting for app\.handler"):
            await invoker.invoke(invocation())
        gate.open()

    assert waiting[-1].result().payload == b"1000"


async def test_invocation_that_no_thread_takes_in_time_is_refused_and_never_runs(
    gate: Gate,
) -> None:
    """The clock stands still, so the one that runs does not time out."""
    settings = {"timeout_seconds": SHORT_SECONDS, "clock": FakeClock()}

    async with in_process(gate, **settings) as invoker, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(invoker.invoke(invocation("runs")))
        await gate.wait_begun()
        with pytest.raises(
            Throttled, match=r"^all 1 threads were busy in app\.handler for 0\.05 s"
        ):
            await invoker.invoke(invocation("waits"))
        gate.open()
        after = await invoker.invoke(invocation("after"))

    assert [running.result().payload, after.payload] == [b'"runs"', b'"after"']
    assert gate.calls == 2


# Callers that leave


async def test_cancelled_caller_does_not_stop_the_run(gate: Gate) -> None:
    done: list[Any] = []

    async with in_process(lambda event, context: done.append(gate(event, context))) as invoker:
        async with asyncio.TaskGroup() as tasks:
            callers = [tasks.create_task(invoker.invoke(invocation(name))) for name in "ab"]
            await gate.wait_begun()
            for caller in callers:  # one runs, one waits for the thread
                caller.cancel()
        gate.open()
        await invoker.invoke(invocation("c"))

    assert [caller.cancelled() for caller in callers] == [True, True]
    assert done == ["a", "b", "c"]


async def test_nothing_is_pending_after_callers_left(gate: Gate) -> None:
    settings = {"timeout_seconds": SHORT_SECONDS, "clock": FakeClock()}

    async with in_process(gate, **settings) as invoker:
        async with asyncio.TaskGroup() as tasks:
            callers = [tasks.create_task(invoker.invoke(invocation(name))) for name in "ab"]
            await gate.wait_begun()
            for caller in callers:
                caller.cancel()
        with pytest.raises(Throttled):  # a whole timeout goes by: "b" has been given up
            await invoker.invoke(invocation())
        gate.open()
        await invoker.invoke(invocation())
        pending = invoker._in_flight

    assert pending == 0


async def test_nothing_is_pending_after_a_timeout(gate: Gate) -> None:
    workers = Workers()

    async with (
        asyncio.TaskGroup() as tasks,
        in_process(gate, timeout_seconds=SHORT_SECONDS) as invoker,
    ):
        await invoker.invoke(invocation())
        pending = invoker._in_flight
        gate.open()
        await workers.wait_one_ends(tasks)
        pending_after = invoker._in_flight

    assert (pending, pending_after) == (0, 0)

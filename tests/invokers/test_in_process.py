"""What a handler on a worker thread or on the event loop gets, and what becomes of what it does."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gateway.core.invocation import FunctionRef, Invocation
from gateway.invokers.capture import captured_streams, current_request_id
from gateway.invokers.in_process import LARGE_BYTES
from gateway.runtime.child import bootstrap
from gateway.runtime.child.bootstrap import InitError
from gateway.runtime.child.lambda_context import LambdaContext
from gateway.telemetry.system import turns_of_the_loop
from gateway.testing import FakeClock
from tests.invokers.gate import (
    ARN,
    FUNCTION,
    PATIENCE_SECONDS,
    REQUEST_ID,
    Gate,
    echo,
    error,
    in_process,
    invocation,
    timed,
    timed_out,
)

BASE_EXCEPTIONS = [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]


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


async def test_payload_that_is_not_json_is_a_function_error() -> None:
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


@pytest.mark.parametrize(("deadline_ms", "expected"), [(0, 1_700_000_003_000), (123, 123)])
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
        async with timed(chatter) as (invoker, time):
            (result,) = await timed_out(invoker, time, gate)

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


# Large results


@pytest.mark.parametrize(
    ("size", "is_second_made"),
    [(LARGE_BYTES - 1, True), (LARGE_BYTES, True), (LARGE_BYTES + 1, False)],
)
async def test_worker_makes_no_second_large_result_before_the_loop_has_taken_the_first(
    size: int, is_second_made: bool
) -> None:
    made = threading.Semaphore(0)

    def handler(event: Any, context: Any) -> str:
        made.release()
        return "x" * (size - 2)  # and the quotes

    async with in_process(handler, threads=1) as invoker, asyncio.TaskGroup() as tasks:
        invocations = [tasks.create_task(invoker.invoke(invocation({}))) for _ in range(2)]
        await turns_of_the_loop(1)
        assert made.acquire(timeout=PATIENCE_SECONDS)  # here the loop does not turn
        patience = PATIENCE_SECONDS if is_second_made else 0.05
        assert made.acquire(timeout=patience) is is_second_made

    assert [len(each.result().payload) for each in invocations] == [size] * 2

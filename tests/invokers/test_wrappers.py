"""The circuit breaker and the cap on concurrency around an invoker."""

import asyncio
from typing import Any

import pytest

from gateway.core.circuit import CircuitSettings
from gateway.core.errors import (
    CircuitOpen,
    GatewayError,
    RequestTooLarge,
    ServiceFailed,
    ServiceRefused,
    ServiceUnreachable,
    Throttled,
)
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.notices import OperatorWarning
from gateway.core.outcomes import outcome
from gateway.invokers.wrappers import CircuitBreaker, ConcurrencyCap
from gateway.runtime.leases import LeaseLimits, LeaseQueue, VersionLeases
from gateway.testing import FakeClock, FakeInvoker, FakeSink
from tests.invokers.gate import invocation
from tests.wire.origin import until

WORKS = InvocationResult(b"1")
FUNCTION_ERROR = InvocationResult(b"{}", function_error="Unhandled")
DOWN = ServiceUnreachable("connection refused")
SETTINGS = CircuitSettings(failures=2, open_seconds=10.0)


class Holding:
    """An invoker that answers when told."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[InvocationResult]] = []

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        answer: asyncio.Future[InvocationResult] = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        return await answer

    async def wait_for(self, count: int) -> None:
        await until(lambda: len(self.waiting) >= count)


class World:
    """A breaker around what answers from a list."""

    def __init__(self, *answers: InvocationResult | GatewayError) -> None:
        self.inner = FakeInvoker([*answers])
        self.clock, self.sink = FakeClock(), FakeSink()
        self.breaker = breaker(self.inner, self.clock, self.sink)

    async def call(self) -> Any:
        """Return the payload, or the exception's class."""
        try:
            return (await self.breaker.invoke(invocation())).payload
        except GatewayError as error:
            return type(error)


def breaker(inner: Any, clock: FakeClock, sink: FakeSink) -> CircuitBreaker:
    return CircuitBreaker(inner, "my-fn", SETTINGS, clock=clock, sink=sink)


async def test_open_circuit_does_not_invoke() -> None:
    world = World(DOWN, DOWN)

    found = [await world.call() for _ in range(4)]

    assert found == [ServiceUnreachable, ServiceUnreachable, CircuitOpen, CircuitOpen]
    assert len(world.inner.invocations) == 2


async def test_recovery_is_tried_and_told() -> None:
    world = World(DOWN, DOWN, DOWN, WORKS, WORKS)
    for _ in range(2):
        await world.call()
    found = []
    for _ in range(2):
        world.clock.advance(10.0)
        found += [await world.call(), await world.call()]

    assert found == [ServiceUnreachable, CircuitOpen, b"1", b"1"]
    left_alone = OperatorWarning("my-fn fails and is left alone for 10 s: connection refused")
    assert world.sink.notices == [left_alone, left_alone, OperatorWarning("my-fn works again")]


async def test_refusal_says_when_it_is_tried_again_and_what_failed() -> None:
    world = World(DOWN, DOWN)
    for _ in range(2):
        await world.call()
    world.clock.advance(6.0)

    with pytest.raises(CircuitOpen) as caught:
        await world.breaker.invoke(invocation())

    text = "my-fn fails, it is tried again in 4.0 s; last: connection refused"
    assert str(caught.value) == text
    assert outcome(caught.value) == (502, "LambdaConnectionError")


@pytest.mark.parametrize(
    "answer", [FUNCTION_ERROR, Throttled("x"), ServiceRefused("x", "LambdaAccessDenied")]
)
async def test_only_platform_failures_count(answer: InvocationResult | GatewayError) -> None:
    world = World(DOWN, answer, DOWN, answer, DOWN, WORKS)

    found = [await world.call() for _ in range(6)]

    assert CircuitOpen not in found
    assert found[-1] == b"1"


async def test_one_tries_and_a_caller_that_leaves_lets_the_next_one() -> None:
    world = World(ServiceFailed("x"), ServiceFailed("x"))
    for _ in range(2):
        await world.call()
    world.clock.advance(10.0)
    inner = world.breaker._inner = Holding()
    async with asyncio.TaskGroup() as tasks:
        trying = tasks.create_task(world.breaker.invoke(invocation()))
        await inner.wait_for(1)
        refused = await world.call()
        trying.cancel()
        await asyncio.wait([trying])
        second = tasks.create_task(world.breaker.invoke(invocation()))
        await inner.wait_for(2)
        inner.waiting[1].set_result(WORKS)

    assert refused is CircuitOpen
    assert second.result() is WORKS


async def test_cap_holds_a_lease_for_the_length_of_an_invocation() -> None:
    inner = Holding()
    queue = LeaseQueue(LeaseLimits(1), FakeSink(), "busy")
    capped = ConcurrencyCap(inner, VersionLeases({"shop": queue}), "shop")
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(capped.invoke(invocation()))
        await inner.wait_for(1)
        with pytest.raises(Throttled, match="busy"):
            await capped.invoke(invocation())
        inner.waiting[0].set_result(WORKS)
    second = asyncio.get_running_loop().create_task(capped.invoke(invocation()))
    await inner.wait_for(2)
    inner.waiting[1].set_exception(ServiceFailed("x"))

    assert first.result() is WORKS
    with pytest.raises(ServiceFailed):
        await second
    assert queue.running == 0


async def test_request_that_is_refused_before_it_is_sent_says_nothing_about_the_platform() -> None:
    world = World(DOWN, RequestTooLarge("7 MB"), DOWN, WORKS)

    found = [await world.call() for _ in range(4)]

    assert found == [ServiceUnreachable, RequestTooLarge, ServiceUnreachable, CircuitOpen]

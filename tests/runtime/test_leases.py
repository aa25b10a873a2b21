"""The right to run; how a pool uses it is in test_pool.py."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.core.concurrency import Lease
from gateway.core.errors import Throttled
from gateway.core.interfaces import Leases
from gateway.core.notices import OperatorWarning
from gateway.runtime.leases import (
    REPORT_SECONDS,
    STOPPING_REASON,
    ZERO_REASON,
    LeaseLimits,
    LeaseQueue,
    VersionLeases,
)
from gateway.testing import FakeSink
from tests.runtime.fake_time import (
    advance,
    anyio_backend,  # noqa: F401 - a fixture
    pending_timers,
    settle,
)

WAIT_SECONDS = 5.0
REASON = "all are busy"
SHOP = "shop"


class World:
    """The leases of a version, and tasks that want them."""

    def __init__(self, concurrency: int = 1, **limits: Any) -> None:
        self.sink = FakeSink()
        self.queue = LeaseQueue(LeaseLimits(concurrency, **limits), self.sink, REASON)
        self.leases: Leases = VersionLeases({SHOP: self.queue})
        self.running: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.may_end: list[asyncio.Event] = []

    async def come(self) -> asyncio.Task[None]:
        """Run something with a lease, until `finish`."""
        number = len(self.tasks)
        self.may_end.append(asyncio.Event())
        task = self.spawn(self.run(number))
        self.tasks.append(task)
        await settle()
        return task

    def spawn(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(step)

    async def run(self, number: int) -> None:
        with self.leases.take(SHOP) or await self.leases.wait(SHOP):
            self.running.append(number)
            await self.may_end[number].wait()

    async def finish(self, number: int) -> None:
        self.may_end[number].set()
        await settle()

    async def end(self) -> None:
        """End every task, and see that nothing is left."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.queue.end()

        assert self.queue.running == 0
        assert pending_timers() == []

    @property
    def warnings(self) -> list[str]:
        return [notice.text for notice in self.sink.notices if isinstance(notice, OperatorWarning)]


def is_throttled(task: asyncio.Task[None]) -> bool:
    return task.done() and isinstance(task.exception(), Throttled)


async def test_free_lease_is_granted_at_once_by_call_and_in_a_task() -> None:
    world = World(2)
    got: list[Any] = []
    leave = world.leases.acquire(SHOP, got.append)
    async with world.leases.of(SHOP) as lease:
        was_running = world.queue.running
    got[0].release()

    assert leave is None
    assert isinstance(lease, Lease)
    assert was_running == 2
    await world.end()


async def test_lease_that_is_free_is_taken_without_waiting() -> None:
    world = World()
    lease = world.leases.take(SHOP)
    assert lease
    was_taken = world.leases.take(SHOP)
    with lease:
        assert pending_timers() == []

    assert was_taken is None
    assert world.queue.running == 0


async def test_without_a_lease_a_call_is_refused_at_once_and_the_reason_is_given() -> None:
    world = World()
    await world.come()
    got: list[Any] = []
    leave = world.leases.acquire(SHOP, got.append)

    assert leave is None
    assert isinstance(got[0], Throttled)
    assert str(got[0]) == REASON
    await world.end()


async def test_concurrency_of_zero_is_named_as_the_reason() -> None:
    world = World(0)
    with pytest.raises(Throttled, match=ZERO_REASON):
        await world.leases.of(SHOP).__aenter__()

    await world.end()
    assert world.warnings == [f"invocations throttled: 1; {ZERO_REASON}"]


async def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    for _ in range(3):
        await world.come()
    await world.finish(0)
    await world.finish(1)

    assert world.running == [0, 1, 2]
    await world.end()


async def test_waiter_by_call_gets_the_lease_in_the_step_that_gives_it_back() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    got: list[Any] = []
    for _ in range(2):
        world.leases.acquire(SHOP, got.append)
    got[0].release()

    assert len(got) == 2
    got[1].release()
    await world.end()


async def test_waiter_by_call_that_leaves_is_not_called() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    got: list[Any] = []
    world.leases.acquire(SHOP, got.append)
    leave = world.leases.acquire(SHOP, got.append)
    assert leave
    leave()
    got[0].release()
    await advance(WAIT_SECONDS)

    assert len(got) == 1
    await world.end()


@pytest.mark.parametrize(("seconds", "is_over"), [(4.99, False), (WAIT_SECONDS, True)])
async def test_waiter_is_throttled_at_the_queue_timeout(seconds: float, *, is_over: bool) -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    await world.come()
    waiting = await world.come()
    await advance(seconds)

    assert is_throttled(waiting) == is_over
    await world.end()


async def test_waiter_cancelled_in_the_step_in_which_it_is_granted_passes_the_lease_on() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    got: list[Any] = []
    world.leases.acquire(SHOP, got.append)
    first, _second = [await world.come() for _ in range(2)]
    got[0].release()
    first.cancel()  # it has its lease but has not run yet
    await settle()

    assert first.cancelled()
    assert world.running == [1]
    await world.end()


async def test_waiter_cancelled_before_its_grant_is_passed_over() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    got: list[Any] = []
    world.leases.acquire(SHOP, got.append)
    second, _third = [await world.come() for _ in range(2)]
    second.cancel()
    got[0].release()  # before the cancelled task has run
    await settle()

    assert world.running == [1]
    await world.end()


async def test_cancelled_waiter_that_was_refused_gives_nothing_back() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    await world.come()
    waiting = await world.come()
    world.queue.end()
    waiting.cancel()
    await settle()

    assert world.queue.running == 1
    await world.end()


async def test_one_over_the_waiting_limit_is_throttled_until_another_leaves() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS, waiting_limit=1)
    _, waiting, over = [await world.come() for _ in range(3)]
    waiting.cancel()
    await settle()
    late = await world.come()

    assert is_throttled(over)
    assert not late.done()
    await world.end()


async def test_lease_is_given_back_by_what_raises() -> None:
    world = World()
    with pytest.raises(ValueError, match="x"):
        async with world.leases.of(SHOP):
            raise ValueError("x")

    assert world.queue.running == 0


async def test_held_lease_keeps_the_next_one_waiting() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    async with world.leases.of(SHOP):
        held = world.leases.hold(SHOP)
    waiting = await world.come()
    was_running = [*world.running]
    held.release()
    await settle()

    assert not waiting.done()
    assert (was_running, world.running) == ([], [0])
    await world.end()


async def test_end_refuses_all_that_wait_or_come() -> None:
    world = World(queue_timeout_seconds=WAIT_SECONDS)
    await world.come()
    waiting = await world.come()
    world.queue.end()
    late = await world.come()

    for refused in (waiting, late):
        with pytest.raises(Throttled, match=STOPPING_REASON):
            await refused
    await world.end()
    assert world.warnings == []


async def test_throttled_are_counted_for_a_second_and_at_the_end() -> None:
    world = World()
    for _ in range(4):
        await world.come()
    silence = world.warnings
    await advance(REPORT_SECONDS)
    await advance(REPORT_SECONDS)
    once = world.warnings
    await world.come()
    await world.end()

    assert silence == []
    assert once == [f"invocations throttled: 3; {REASON}"]
    assert world.warnings[1:] == [f"invocations throttled: 1; {REASON}"]


async def test_versions_that_share_a_queue_share_its_leases() -> None:
    queue = LeaseQueue(LeaseLimits(1), FakeSink(), REASON)
    leases = VersionLeases(
        {"1": queue, "2": queue, "other": LeaseQueue(LeaseLimits(1), FakeSink(), "")}
    )
    async with leases.of("1"), leases.of("other"):
        with pytest.raises(Throttled):
            await leases.of("2").__aenter__()
    leases.end()

    with pytest.raises(Throttled, match=STOPPING_REASON):
        await leases.of("other").__aenter__()

"""When environments are looked at: fake environments, and a loop whose time the test moves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.runtime.watch import IDLE_LOOKS, LOOK_SECONDS, Watch
from tests.runtime.fake_time import FakeTimeLoop, advance, pending_timers


class Environment:
    """A Watched that counts its looks."""

    def __init__(
        self, *, is_busy: bool = False, is_large: bool = False, walks: bool = False
    ) -> None:
        self.marker, self.pid, self.needs_walk = str(id(self)), 4_000_000, walks
        self.is_busy, self.is_large = is_busy, is_large
        self.looks = self.ends = 0
        self.members: list[set[int]] = []
        self.on_look: Callable[[], None] = lambda: None

    def take_use(self) -> bool:
        return self.is_busy

    def is_over(self, members: set[int]) -> bool:
        self.looks += 1
        self.members.append(members)
        self.on_look()
        return self.is_large

    def end(self) -> None:
        self.ends += 1


class Loop(FakeTimeLoop):
    """Makes looks at once, where they are due, or loses them."""

    loses = False

    def run_in_executor(  # type: ignore[override]
        self, _executor: object, look: Callable[[], Any]
    ) -> "asyncio.Future[Any]":
        future = self.create_future()
        if self.loses:
            future.cancel()
        else:
            future.set_result(look())
        return future


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": Loop}


async def pass_looks(count: int) -> None:
    for _ in range(count):
        await advance(LOOK_SECONDS)


async def test_idle_environment_is_looked_at_with_every_tenth_look_at_a_busy_one() -> None:
    looks, busy, idle = Watch(), Environment(is_busy=True), Environment()
    looks.add(busy)
    looks.add(idle)

    await pass_looks(3 * IDLE_LOOKS)

    assert (busy.looks, idle.looks) == (3 * IDLE_LOOKS, 3)


async def test_environment_over_a_limit_is_ended_once() -> None:
    looks, other = Watch(), Environment(is_busy=True)
    large = Environment(is_busy=True, is_large=True)
    looks.add(large)
    looks.add(other)

    await pass_looks(3)

    assert (large.looks, large.ends, other.looks, other.ends) == (1, 1, 3, 0)


async def test_environment_whose_process_ended_during_the_look_is_left_alone() -> None:
    looks, gone, new, last = Watch(), *(Environment(is_busy=True, is_large=True) for _ in range(3))
    last.is_large = False
    gone.on_look = lambda: looks.remove(gone)

    def start_again() -> None:
        new.pid, new.is_large = 4_000_001, False

    new.on_look = start_again
    for one in (gone, new, last):
        looks.add(one)

    await pass_looks(3)

    assert (gone.ends, new.ends, last.looks) == (0, 0, 3)


class CountingTable:
    """Says how many environments it has walked for, negative where all was new."""

    def __init__(self) -> None:
        self.walks: list[int] = []

    def families(self, roots: dict[str, int], *, is_fresh: bool) -> dict[str, set[int]]:
        self.walks.append(-len(roots) if is_fresh else len(roots))
        return {marker: {int(marker)} for marker in roots}


async def test_one_walk_serves_all_that_need_one() -> None:
    table = CountingTable()
    looks = Watch(table)  # type: ignore[arg-type]
    walked = [Environment(is_busy=True, walks=True) for _ in range(3)]
    idle, grouped = Environment(walks=True), Environment(is_busy=True)
    for one in (*walked, idle, grouped):
        looks.add(one)

    await pass_looks(IDLE_LOOKS)

    assert table.walks == [*[4] * (IDLE_LOOKS - 1), -4]  # fresh, for the idle one too
    assert len(idle.members) == 1
    assert all(one.members[0] == {int(one.marker)} for one in walked)
    assert grouped.members[0] == set()


async def test_nothing_is_looked_at_when_everything_is_removed_and_again_when_added() -> None:
    looks, one = Watch(), Environment(is_busy=True)
    looks.add(one)
    await pass_looks(1)
    looks.remove(one)
    await pass_looks(1)
    waiting = pending_timers()

    looks.add(one)
    await pass_looks(1)

    assert (waiting, one.looks) == ([], 2)


async def test_look_that_was_cancelled_with_its_loop_ends_nothing() -> None:
    looks, one = Watch(), Environment(is_busy=True, is_large=True)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.loses = True
    looks.add(one)
    await pass_looks(2)
    loop.loses = False

    assert (one.looks, one.ends, pending_timers()) == (0, 0, [])

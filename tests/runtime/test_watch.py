"""When environments are looked at: a fake environment, a real clock of looks."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.runtime import watch
from gateway.runtime.watch import IDLE_LOOKS, Watch
from tests.runtime.launching import until


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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.001)


async def test_idle_environment_is_looked_at_with_every_tenth_look_at_a_busy_one() -> None:
    looks, busy, idle = Watch(), Environment(is_busy=True), Environment()
    looks.add(busy)
    looks.add(idle)

    await until(lambda: idle.looks >= 3)

    assert (idle.looks - 1) * IDLE_LOOKS <= busy.looks < (idle.looks + 1) * IDLE_LOOKS
    looks.remove(busy)
    looks.remove(idle)


async def test_environment_over_a_limit_is_ended_once() -> None:
    looks, other = Watch(), Environment(is_busy=True)
    large = Environment(is_busy=True, is_large=True)
    looks.add(large)
    looks.add(other)

    await until(lambda: other.looks >= 3)

    assert (large.looks, large.ends, other.ends) == (1, 1, 0)
    looks.remove(other)


async def test_environment_whose_process_ended_during_the_look_is_left_alone() -> None:
    looks, gone, new, last = Watch(), *(Environment(is_busy=True, is_large=True) for _ in range(3))
    last.is_large = False
    gone.on_look = lambda: looks.remove(gone)

    def start_again() -> None:
        new.pid, new.is_large = 4_000_001, False

    new.on_look = start_again
    for one in (gone, new, last):
        looks.add(one)

    await until(lambda: last.looks >= 3)

    assert (gone.ends, new.ends) == (0, 0)
    looks.remove(new)
    looks.remove(last)


async def test_one_walk_serves_all_that_need_one(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[int] = []

    class CountingTable:
        def families(self, roots: dict[str, int], *, is_fresh: bool) -> dict[str, set[int]]:
            walks.append(-len(roots) if is_fresh else len(roots))
            return {marker: {int(marker)} for marker in roots}

    monkeypatch.setattr(watch, "Table", CountingTable)
    looks = Watch()
    walked = [Environment(is_busy=True, walks=True) for _ in range(3)]
    idle, grouped = Environment(walks=True), Environment(is_busy=True)
    for one in (*walked, idle, grouped):
        looks.add(one)

    await until(lambda: walked[0].looks >= IDLE_LOOKS)

    assert walks[:IDLE_LOOKS] == [*[4] * (IDLE_LOOKS - 1), -4]  # fresh, for the idle one too
    assert len(idle.members) == len(walks) // IDLE_LOOKS
    assert all(one.members[0] == {int(one.marker)} for one in walked)
    assert grouped.members[0] == set()
    for one in (*walked, idle, grouped):
        looks.remove(one)


async def test_nothing_is_looked_at_when_everything_is_removed_and_again_when_added() -> None:
    looks, one = Watch(), Environment(is_busy=True)
    looks.add(one)
    await until(lambda: one.looks >= 1)
    looks.remove(one)
    await until(lambda: not looks._is_running)

    looks.add(one)
    await until(lambda: one.looks >= 2)

    looks.remove(one)


async def test_look_that_was_cancelled_with_its_loop_ends_nothing() -> None:
    looks, look = Watch(), asyncio.get_running_loop().create_future()
    look.cancel()

    looks._end(look, {})

    assert not looks._is_running

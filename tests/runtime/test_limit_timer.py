"""One timer for many limits, on a loop whose time only the test moves."""

import asyncio

from gateway.runtime.limit_timer import LimitTimer
from tests.runtime.fake_time import (  # noqa: F401 - a fixture
    LoopClock,
    advance,
    anyio_backend,
    pending_timers,
)


class Watched:
    """A timer and the moments at which it was over."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.over: list[float] = []
        self.timer = LimitTimer(loop, LoopClock(), lambda: self.over.append(loop.time()))
        self.start = loop.time()

    def seconds(self) -> list[float]:
        return [moment - self.start for moment in self.over]


async def test_limit_is_over_once() -> None:
    it = Watched()
    it.timer.restart(3.0)
    for _ in range(5):
        await advance(1.0)

    assert it.seconds() == [3.0]


async def test_later_limit_replaces_the_one_before_without_another_timer() -> None:
    it = Watched()
    it.timer.restart(3.0)
    await advance(1.0)
    [timer] = pending_timers()
    it.timer.restart(3.0)
    same = pending_timers() == [timer]
    for _ in range(5):
        await advance(1.0)

    assert same
    assert it.seconds() == [4.0]


async def test_earlier_limit_replaces_the_one_before() -> None:
    it = Watched()
    it.timer.restart(10.0)
    it.timer.restart(1.0)
    await advance(1.0)

    assert it.seconds() == [1.0]


async def test_limit_that_is_stopped_is_never_over() -> None:
    it = Watched()
    it.timer.restart(1.0)
    it.timer.stop()
    await advance(2.0)

    assert it.over == []


async def test_close_leaves_no_timer() -> None:
    it = Watched()
    it.timer.close()
    it.timer.restart(1.0)
    it.timer.close()

    assert pending_timers() == []

"""New code beside the old: when traffic moves, what is closed, and what a failure leaves."""

import pytest

from gateway.runtime.pool import LATELY_SECONDS
from gateway.runtime.slots import InitFailed
from tests.runtime.fake_time import advance, anyio_backend, settle  # noqa: F401 - a fixture
from tests.runtime.pool_rig import Broken, FailingInit, Rig, is_throttled


async def test_replace_serves_from_the_old_ones_until_the_new_one_is_ready() -> None:
    async with Rig() as rig:
        await rig.calls(1)
        rig.made[0].finish()
        rig.is_slow = True
        replacing = rig.spawn(rig.pool.replace(rig.make))
        await rig.calls(1)
        rig.made[0].finish()
        rig.made[1].started.set()
        await settle()
        replacing.result()
        await rig.calls(1)

        assert [environment.requests for environment in rig.made] == [["0", "2"], ["3"]]
        assert rig.made[0].closed == 1


async def test_replace_lets_running_invocations_finish() -> None:
    async with Rig() as rig:
        [task] = await rig.calls(1)
        await rig.pool.replace(rig.make)
        await settle()
        was_closed = rig.made[0].closed
        rig.made[0].finish()
        await settle()

        assert was_closed == 0
        assert task.result().payload == b"0"
        assert rig.made[0].closed == 1


async def test_replace_uses_the_new_make_from_then_on() -> None:
    async with Rig() as rig:
        other = Rig()
        await rig.pool.replace(other.make)
        await rig.calls(2)

        assert rig.made == []
        assert len(other.made) == 2
    assert [environment.closed for environment in other.made] == [1, 1]


async def test_running_ones_of_the_old_code_count() -> None:
    async with Rig(concurrency=1) as rig:
        await rig.calls(1)
        await rig.pool.replace(rig.make)
        [early] = await rig.calls(1)
        rig.made[0].finish()
        [late] = await rig.calls(1)

        assert is_throttled(early)
        assert not late.done()
        assert rig.made[1].requests == ["2"]


async def test_waiter_gets_the_new_code_when_an_old_one_is_done() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        await rig.calls(2)
        await rig.pool.replace(rig.make)
        rig.made[0].finish()
        await settle()

        assert [environment.requests for environment in rig.made] == [["0"], ["1"]]


async def test_time_of_a_long_init_is_not_idle_time() -> None:
    async with Rig(idle_seconds=10.0) as rig:
        rig.is_slow = True
        rig.spawn(rig.pool.replace(rig.make))
        await settle()
        await advance(20.0)
        rig.made[0].started.set()
        await settle()
        await advance(9.0)

        assert rig.alive == rig.made


@pytest.mark.parametrize(
    ("seconds", "prepared"), [(LATELY_SECONDS - 0.1, 3), (LATELY_SECONDS, 1), (11.0, 1)]
)
async def test_replace_prepares_as_many_as_have_worked_lately(
    seconds: float, prepared: int
) -> None:
    async with Rig() as rig:
        await rig.calls(3)
        for environment in rig.made:
            environment.finish()
        await settle()
        await advance(seconds)
        await rig.pool.replace(rig.make)
        await settle()

        assert [environment.inits for environment in rig.alive] == [1] * prepared


async def test_replace_counts_a_long_run_as_working() -> None:
    async with Rig() as rig:
        await rig.calls(2)
        await advance(2 * LATELY_SECONDS)
        await rig.pool.replace(rig.make)

        assert [environment.inits for environment in rig.made] == [0, 0, 1, 1]


async def test_reloads_one_after_the_other_prepare_no_more_than_the_concurrency() -> None:
    async with Rig(concurrency=3) as rig:
        await rig.calls(3)
        for _ in range(4):
            await rig.pool.replace(rig.make)
            await settle()

        assert len(rig.alive) == 3 + 3


async def test_replace_starts_the_minimum() -> None:
    async with Rig(min_environments=2) as rig:
        await rig.pool.replace(rig.make)
        await settle()

        assert rig.alive == rig.made[2:]
        assert [environment.inits for environment in rig.alive] == [1, 1]


async def test_minimum_counts_the_current_code_only() -> None:
    async with Rig(min_environments=1, idle_seconds=10.0) as rig:
        await rig.calls(2)
        await rig.pool.replace(rig.make)
        await advance(10.0)

        assert len(rig.alive) == 3


async def test_replace_that_fails_leaves_the_old_ones_serving() -> None:
    async with Rig() as rig:
        await rig.calls(1)
        rig.made[0].finish()
        broken = FailingInit(InitFailed("SyntaxError"))
        with pytest.raises(InitFailed, match="SyntaxError"):
            await rig.pool.replace(broken.make)
        await rig.calls(2)

        assert broken.made[0].closed == 1
        assert [environment.requests for environment in rig.made] == [["0", "1"], ["2"]]


async def test_replace_that_fails_in_one_of_several_closes_all_the_new_ones() -> None:
    async with Rig(min_environments=2) as rig:
        broken = FailingInit(InitFailed("SyntaxError"), min_environments=2)
        broken.is_slow = True
        replacing = rig.spawn(rig.pool.replace(broken.make))
        await settle()
        broken.made[0].started.set()  # the other one's init goes on
        await settle()

        assert isinstance(replacing.exception(), InitFailed)
        assert [environment.closed for environment in broken.made] == [1, 1]
        assert len(rig.alive) == 2


async def test_replace_whose_make_fails_leaves_nothing_behind() -> None:
    async with Rig() as rig:
        other = Rig()
        other.make_failure = Broken()
        with pytest.raises(Broken):
            await rig.pool.replace(other.make)
        await rig.calls(1)

        assert len(rig.made) == 1


async def test_cancelled_replace_leaves_nothing_behind() -> None:
    async with Rig() as rig:
        rig.is_slow = True
        replacing = rig.spawn(rig.pool.replace(rig.make))
        await settle()
        replacing.cancel()
        await settle()

        assert replacing.cancelled()
        assert rig.made[0].closed == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_replaces_the_last_wins(order: tuple[int, int]) -> None:
    async with Rig() as rig:
        rig.is_slow = True
        replacing = [rig.spawn(rig.pool.replace(rig.make)) for _ in range(2)]
        await settle()
        for number in order:
            rig.made[number].started.set()
            await settle()
            replacing[number].result()
        await rig.calls(1)

        assert rig.made[0].closed == 1
        assert len(rig.made[1].requests) == 1


async def test_last_of_two_replaces_that_fails_leaves_the_first() -> None:
    async with Rig() as rig:
        rig.is_slow = True
        first, second = [rig.spawn(rig.pool.replace(rig.make)) for _ in range(2)]
        await settle()
        rig.made[1].init_failure = InitFailed("SyntaxError")
        rig.made[1].started.set()
        await settle()
        rig.made[0].started.set()
        await settle()
        await rig.calls(1)

        assert isinstance(second.exception(), InitFailed)
        assert first.done()
        assert len(rig.made[0].requests) == 1

"""Environments that run, wait or are closed: the pool over environments that a test answers for."""

import asyncio

import pytest

from gateway.core.errors import Throttled
from gateway.runtime.pool import UPKEEP_SECONDS
from gateway.runtime.slots import LIFETIME_SECONDS, InitFailed
from tests.runtime.fake_time import advance, anyio_backend, settle  # noqa: F401 - a fixture
from tests.runtime.pool_rig import Broken, FailingInit, Rig, is_throttled


async def test_first_invocation_makes_an_environment_and_leaves_init_to_it() -> None:
    async with Rig() as rig:
        [task] = await rig.calls(1)
        rig.made[0].finish()
        await settle()

        assert task.result().payload == b"0"
        assert len(rig.made) == 1
        assert rig.made[0].inits == 0


async def test_environment_serves_the_next_one_too() -> None:
    async with Rig() as rig:
        for _ in range(3):
            await rig.calls(1)
            rig.made[0].finish()

        assert rig.made[0].requests == ["0", "1", "2"]
        assert len(rig.made) == 1


async def test_response_does_not_make_an_environment_free() -> None:
    async with Rig() as rig:
        [first] = await rig.calls(1)
        rig.made[0].respond()
        await rig.calls(1)

        assert first.done()
        assert [environment.requests for environment in rig.made] == [["0"], ["1"]]


async def test_most_recently_used_environment_goes_first() -> None:
    async with Rig() as rig:
        await rig.calls(3)
        for number in (1, 2, 0):
            rig.made[number].finish()
        await rig.calls(2)

        assert [len(environment.requests) for environment in rig.made] == [2, 1, 2]


async def test_environment_that_says_twice_that_it_is_free_gets_one_invocation() -> None:
    async with Rig() as rig:
        await rig.calls(1)
        rig.made[0].finish()
        rig.made[0].free()
        await rig.calls(2)

        assert len(rig.made) == 2


async def test_environment_that_is_free_during_init_gets_no_invocation_before_its_end() -> None:
    async with Rig() as rig:
        rig.is_slow = True
        rig.spawn(rig.pool.replace(rig.make))
        await settle()
        rig.made[0].free()
        await rig.calls(1)

        assert rig.made[0].requests == []


@pytest.mark.parametrize("concurrency", [0, 1, 2])
async def test_one_over_the_concurrency_is_throttled_at_once(concurrency: int) -> None:
    async with Rig(concurrency=concurrency) as rig:
        *running, over = await rig.calls(concurrency + 1)

        assert is_throttled(over)
        assert not any(task.done() for task in running)
        assert len(rig.made) == concurrency


async def test_throttled_ends_with_the_first_that_is_free() -> None:
    async with Rig(concurrency=1) as rig:
        await rig.calls(1)
        rig.made[0].respond()
        [early] = await rig.calls(1)
        rig.made[0].free()
        [late] = await rig.calls(1)

        assert is_throttled(early)
        assert not late.done()


async def test_waiters_are_served_in_order_of_arrival() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        await rig.calls(4)
        for _ in range(3):
            rig.made[0].finish()
            await settle()

        assert rig.made[0].requests == ["0", "1", "2", "3"]
        assert len(rig.made) == 1


async def test_newcomer_does_not_overtake_a_waiter() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        await rig.calls(2)
        rig.made[0].finish()
        await rig.calls(1)

        assert rig.made[0].requests == ["0", "1"]


async def test_timed_out_waiter_loses_nothing() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        await rig.calls(2)
        await advance(5.0)
        await rig.calls(1)
        rig.made[0].finish()
        await settle()

        assert rig.made[0].requests == ["0", "2"]


async def test_cancelled_waiter_is_passed_over() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        _, second, _third = await rig.calls(3)
        second.cancel()
        rig.made[0].finish()  # before the cancelled task has run
        await settle()

        assert rig.made[0].requests == ["0", "2"]


async def test_waiter_cancelled_with_a_lease_in_hand_passes_it_on() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        _, second, _third = await rig.calls(3)
        rig.made[0].finish()
        second.cancel()  # it has its lease but has not run yet
        await settle()

        assert second.cancelled()
        assert rig.made[0].requests == ["0", "2"]


async def test_caller_that_leaves_does_not_free_its_environment() -> None:
    async with Rig(concurrency=1) as rig:
        [gone] = await rig.calls(1)
        gone.cancel()
        [early] = await rig.calls(1)
        rig.made[0].free()
        [late] = await rig.calls(1)

        assert is_throttled(early)
        assert not late.done()
        assert rig.made[0].requests == ["0", "2"]


async def test_make_that_fails_gives_its_lease_back() -> None:
    async with Rig(concurrency=1) as rig:
        rig.make_failure = Broken()
        [failed] = await rig.calls(1)
        rig.make_failure = None
        [served] = await rig.calls(1)

        assert isinstance(failed.exception(), Broken)
        assert not served.done()


async def test_make_that_fails_for_a_waiter_passes_the_lease_on() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        _, second, third = await rig.calls(3)
        rig.make_failure = Broken()
        rig.made[0].fail()
        await settle()

        assert isinstance(second.exception(), Broken)
        assert isinstance(third.exception(), Broken)

        rig.make_failure = None
        [served] = await rig.calls(1)
        assert not served.done()


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_environment_that_raises_is_closed_and_gives_its_lease_back(when: str) -> None:
    async with Rig(concurrency=1) as rig:
        [task] = await rig.calls(1)
        if when == "later":
            rig.made[0].fail()
        else:
            rig.made[0].finish()
            rig.made[0].refusal = Broken()
            [task] = await rig.calls(1)
        await settle()
        await rig.calls(1)

        assert isinstance(task.exception(), Broken)
        assert rig.made[0].closed == 1
        assert len(rig.made) == 2


async def test_environment_that_raises_and_is_free_stays() -> None:
    async with Rig(concurrency=1) as rig:
        [task] = await rig.calls(1)
        rig.made[0].fail()
        rig.made[0].free()
        await rig.calls(1)

        assert isinstance(task.exception(), Broken)
        assert rig.made[0].requests == ["0", "1"]


async def test_raised_before_free_is_said_leaves_the_count_right() -> None:
    async with Rig(concurrency=1) as rig:
        await rig.calls(1)
        rig.made[0].fail()
        await settle()
        rig.made[0].free()
        *_, over = await rig.calls(2)

        assert is_throttled(over)
        assert len(rig.made) == 2


@pytest.mark.parametrize(("seconds", "left"), [(9.0, 2), (10.0, 0), (11.0, 0)])
async def test_idle_environment_is_closed_after_its_time(seconds: float, left: int) -> None:
    async with Rig(idle_seconds=10.0) as rig:
        await rig.calls(2)
        await advance(5.0)
        rig.made[0].finish()
        rig.made[1].finish()
        await advance(seconds)

        assert len(rig.alive) == left


async def test_least_recently_used_environments_are_closed_down_to_the_minimum() -> None:
    async with Rig(idle_seconds=10.0, min_environments=1) as rig:
        await rig.calls(3)
        for number in (2, 0, 1):
            rig.made[number].finish()
        await advance(10.0)

        assert rig.alive == [rig.made[1]]


async def test_running_environment_is_not_closed_however_long_it_runs() -> None:
    async with Rig(idle_seconds=10.0) as rig:
        await rig.calls(1)
        await advance(LIFETIME_SECONDS + 1.0)

        assert rig.alive == rig.made


async def test_old_environment_is_closed_when_idle() -> None:
    async with Rig(idle_seconds=LIFETIME_SECONDS) as rig:
        await rig.calls(1)
        await advance(LIFETIME_SECONDS - UPKEEP_SECONDS)
        rig.made[0].finish()
        await settle()
        young = len(rig.alive)
        await advance(UPKEEP_SECONDS)

        assert young == 1
        assert rig.alive == []


async def test_running_ones_count_for_the_minimum() -> None:
    async with Rig(idle_seconds=10.0, min_environments=1) as rig:
        await rig.calls(2)
        rig.made[0].finish()
        await advance(10.0)

        assert rig.alive == [rig.made[1]]


async def test_minimum_above_what_there_is_closes_none() -> None:
    async with Rig(idle_seconds=10.0, min_environments=3) as rig:
        await rig.calls(3)
        rig.made[0].fail()
        rig.made[1].finish()
        rig.made[2].finish()
        await advance(10.0)

        assert rig.alive == rig.made[1:]


async def test_minimum_is_started_at_once_and_together() -> None:
    rig = Rig(min_environments=2)
    rig.is_slow = True
    entering = rig.spawn(rig.__aenter__())
    await settle()
    begun = [environment.inits for environment in rig.made]
    for environment in rig.made:
        environment.started.set()
    await settle()

    assert begun == [1, 1]
    assert entering.done()
    await rig.calls(2)
    assert [len(environment.requests) for environment in rig.made] == [1, 1]
    await rig.__aexit__()


async def test_minimum_is_not_above_the_concurrency() -> None:
    async with Rig(concurrency=1, min_environments=2) as rig:
        assert len(rig.made) == 1


async def test_init_that_fails_at_the_start_is_told_and_tried_again_by_an_invocation() -> None:
    async with FailingInit(InitFailed("No module named 'shop'"), min_environments=2) as rig:
        await rig.calls(2)

        assert str(rig.failure) == "No module named 'shop'"
        assert [environment.requests for environment in rig.made] == [["1"], ["0"]]


async def test_start_that_breaks_leaves_nothing_behind() -> None:
    rig = FailingInit(Broken(), min_environments=2)

    with pytest.raises(Broken):
        await rig.__aenter__()

    assert [environment.closed for environment in rig.made] == [1] * len(rig.made)
    assert asyncio.all_tasks() <= rig.others


async def test_exit_closes_what_runs_and_what_is_prepared() -> None:
    async with Rig() as rig:
        await rig.calls(2)
        rig.made[0].finish()
        rig.is_slow = True
        replacing = rig.spawn(rig.pool.replace(rig.make))
        await settle()
    rig.made[1].free()  # means nothing any more
    [late] = await rig.calls(1)

    assert replacing.cancelled()
    assert [environment.closed for environment in rig.made] == [1, 1, 1, 1]
    assert is_throttled(late)


async def test_replace_that_is_ready_after_the_end_changes_nothing() -> None:
    rig = Rig()
    rig.is_slow = True
    async with rig.pool:
        replacing = rig.spawn(rig.pool.replace(rig.make))
        await settle()
    rig.made[0].started.set()
    await settle()
    [late] = await rig.calls(1)

    replacing.result()
    assert [environment.closed for environment in rig.made] == [1]
    assert is_throttled(late)
    with pytest.raises(Throttled, match="stopping"):
        await rig.pool.replace(rig.make)


async def test_exit_refuses_waiters_even_those_with_a_lease() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        _, second, third = await rig.calls(3)
        rig.made[0].finish()  # the second has its lease
    await settle()

    assert is_throttled(second)
    assert is_throttled(third)
    assert "stopping" in str(third.exception())
    assert len(rig.made) == 1


async def test_environment_that_cannot_be_closed_is_reported_and_harms_no_other() -> None:
    async with Rig() as rig:
        await rig.calls(2)
        rig.made[0].close_fails = True

    assert rig.warnings == ["an execution environment could not be closed: OSError('busy')"]
    assert rig.made[1].closed == 1

"""What becomes of environments that fail, die or are killed, and of the invocations they had."""

import pytest

from gateway.core.delays import LONGEST_DELAY_SECONDS
from gateway.runtime.pool import STEADY_SECONDS, UPKEEP_SECONDS
from gateway.runtime.slots import InitFailed, Readiness
from tests.runtime.fake_time import advance, anyio_backend, settle  # noqa: F401 - a fixture
from tests.runtime.pool_rig import Broken, FailingInit, Rig, is_throttled

# --- which one is taken ---


async def test_environment_that_lost_its_process_is_taken_after_the_warm_ones() -> None:
    async with Rig() as rig:
        await rig.calls(3)
        rig.made[0].finish()
        rig.made[1].finish()
        rig.made[2].finish(Readiness.COLD)  # the most recently used
        await rig.calls(3)

        assert [environment.requests for environment in rig.made] == [
            ["0", "4"],
            ["1", "3"],
            ["2", "5"],
        ]


async def test_environment_whose_init_failed_in_an_invocation_is_closed() -> None:
    async with Rig(concurrency=1) as rig:
        await rig.calls(1)
        rig.made[0].finish(Readiness.SPENT)
        await settle()
        await rig.calls(1)

        assert rig.made[0].closed == 1
        assert rig.made[1].requests == ["1"]


async def test_idle_environment_that_dies_is_closed_before_the_next_invocation() -> None:
    async with Rig() as rig:
        await rig.calls(2)
        rig.made[0].finish()
        rig.made[1].finish()
        rig.made[1].change(Readiness.SPENT)
        await rig.calls(1)

        assert rig.made[0].requests == ["0", "2"]
        assert [environment.closed for environment in rig.made] == [0, 1]


async def test_runtime_that_does_not_wait_gets_nothing_until_it_asks_again() -> None:
    async with Rig() as rig:
        await rig.calls(1)
        rig.made[0].finish()
        rig.made[0].change(Readiness.LOST)
        await rig.calls(1)
        rig.made[0].change(Readiness.READY)
        await rig.calls(1)

        assert [environment.requests for environment in rig.made] == [["0", "2"], ["1"]]


async def test_runtime_that_does_not_wait_is_replaced_when_there_are_as_many_as_may_be() -> None:
    async with Rig(concurrency=1) as rig:
        await rig.calls(1)
        rig.made[0].finish()
        rig.made[0].change(Readiness.LOST)
        await rig.calls(1)

        assert [environment.closed for environment in rig.made] == [1, 0]
        assert rig.made[1].requests == ["1"]


async def test_runtime_that_never_asks_again_is_closed_after_the_idle_time() -> None:
    async with Rig(idle_seconds=10.0, min_environments=1) as rig:
        rig.made[0].change(Readiness.LOST)
        await settle()
        await advance(10.0)

        assert rig.made[0].closed == 1
        assert len(rig.alive) == 1


async def test_lease_of_a_crash_goes_to_a_waiter() -> None:
    async with Rig(concurrency=1, queue_timeout_seconds=5.0) as rig:
        await rig.calls(2)
        rig.made[0].finish(Readiness.SPENT)
        await settle()

        assert rig.made[1].requests == ["1"]


# --- deliveries that reached no process ---


async def test_invocation_that_reached_no_process_runs_in_another_environment() -> None:
    async with Rig(concurrency=2) as rig:
        [task, _] = await rig.calls(2)
        rig.made[0].give_back()
        await settle()
        rig.made[2].finish()
        await settle()

        assert task.result().payload == b"0"
        assert rig.made[0].closed == 1
        [late, over] = await rig.calls(2)  # no lease was lost, none was won
        assert not late.done()
        assert is_throttled(over)


async def test_third_environment_is_a_new_one_and_the_last() -> None:
    async with Rig(concurrency=3) as rig:
        await rig.calls(3)
        for environment in rig.made:
            environment.finish()
        [task] = await rig.calls(1)
        for number in (2, 1, 3):
            rig.made[number].give_back()
            await settle()
        *late, over = await rig.calls(4)

        assert task.result().payload == b"gone"
        assert [environment.requests for environment in rig.made[:4]] == [
            ["0", "4"],
            ["1", "3"],
            ["2", "3"],
            ["3"],
        ]
        assert not any(each.done() for each in late)
        assert is_throttled(over)


async def test_new_environment_takes_the_place_of_one_that_rests() -> None:
    async with Rig(concurrency=2) as rig:
        rig.is_slow = False
        await rig.calls(2)
        rig.made[0].finish()
        rig.made[1].finish()
        [task] = await rig.calls(1)
        rig.made[1].give_back()
        await settle()
        rig.made[0].give_back()
        await settle()

        assert len(rig.alive) == 1
        assert not task.done()


async def test_invocation_that_its_caller_left_is_not_given_to_another() -> None:
    async with Rig(concurrency=1) as rig:
        [gone] = await rig.calls(1)
        gone.cancel()
        await settle()
        rig.made[0].give_back()
        [late] = await rig.calls(1)

        assert rig.made[0].closed == 1
        assert rig.made[1].requests == ["1"]
        assert not late.done()


async def test_caller_that_leaves_as_its_invocation_comes_back_loses_no_lease() -> None:
    async with Rig(concurrency=1) as rig:
        [gone] = await rig.calls(1)
        rig.made[0].give_back()
        gone.cancel()  # before the task has run
        [late] = await rig.calls(1)

        assert gone.cancelled()
        assert rig.made[1].requests == ["1"]
        assert not late.done()


async def test_second_environment_that_cannot_be_made_loses_no_lease() -> None:
    async with Rig(concurrency=1) as rig:
        [task] = await rig.calls(1)
        rig.make_failure = Broken()
        rig.made[0].give_back()
        await settle()
        rig.make_failure = None
        [late] = await rig.calls(1)

        assert isinstance(task.exception(), Broken)
        assert not late.done()


# --- the minimum ---


@pytest.mark.parametrize("readiness", [Readiness.SPENT, Readiness.COLD, Readiness.LOST])
async def test_minimum_is_restored_after_a_death(readiness: Readiness) -> None:
    async with Rig(min_environments=2) as rig:
        await advance(STEADY_SECONDS)
        rig.made[0].change(readiness)
        await settle()

        ready = [each for each in rig.alive if each.readiness is Readiness.READY]
        assert len(ready) == 2
        assert sum(each.inits for each in rig.made) == 3


async def test_minimum_is_restored_after_a_crash_without_a_request() -> None:
    async with Rig(min_environments=1) as rig:
        await rig.calls(1)
        rig.made[0].finish()
        await rig.calls(1)
        rig.made[0].finish(Readiness.COLD)
        await settle()

        assert len(rig.made) == 1
        assert rig.made[0].inits == 2
        assert rig.made[0].readiness is Readiness.READY


async def test_invocation_joins_a_start_that_is_under_way() -> None:
    async with Rig(concurrency=1, min_environments=1) as rig:
        await advance(STEADY_SECONDS)
        rig.is_slow = True
        rig.made[0].change(Readiness.SPENT)
        await settle()
        [task] = await rig.calls(1)
        rig.made[1].started.set()
        await settle()
        rig.made[1].finish()
        await settle()

        assert task.result().payload == b"0"
        assert len(rig.made) == 2
        [late] = await rig.calls(1)
        assert not late.done()


async def test_invocation_may_come_before_the_first_step_of_a_start() -> None:
    async with Rig(concurrency=1, min_environments=1) as rig:
        await advance(STEADY_SECONDS)
        task = rig.call()
        rig.made[0].change(Readiness.SPENT)  # both have their first step after this
        await settle()
        rig.made[1].finish()
        await settle()

        assert task.result().payload == b"0"
        assert rig.made[1].closed == 0


async def test_starts_that_fail_are_tried_again_after_growing_pauses() -> None:
    async with FailingInit(InitFailed("no database"), min_environments=1) as rig:
        inits = []
        for _ in range(40):
            inits.append(rig.made[0].inits)
            await advance(UPKEEP_SECONDS)

    assert [inits.index(number) for number in range(1, 7)] == [0, 1, 3, 7, 15, 31]
    assert rig.warnings == ["an environment could not be started: no database"] * 5
    assert LONGEST_DELAY_SECONDS >= 30


async def test_crash_loop_of_idle_environments_does_not_spin() -> None:
    async with Rig(min_environments=1) as rig:
        for _ in range(40):
            for environment in rig.alive:
                if environment.readiness is Readiness.READY:
                    environment.change(Readiness.SPENT)
            await settle()
            await advance(UPKEEP_SECONDS)

    assert len(rig.made) == 6


async def test_success_ends_the_pauses() -> None:
    async with Rig(min_environments=1) as rig:
        rig.made[0].change(Readiness.SPENT)
        await settle()
        after_quick_death = len(rig.made)
        await advance(UPKEEP_SECONDS)
        await rig.calls(1)
        rig.made[1].finish()
        rig.made[1].change(Readiness.SPENT)
        await settle()

        assert after_quick_death == 1
        assert len(rig.made) == 3


async def test_start_ahead_that_breaks_leaves_the_pool_as_it_is() -> None:
    async with Rig(min_environments=1) as rig:
        await advance(STEADY_SECONDS)
        rig.make_failure = Broken("no memory")
        rig.made[0].change(Readiness.SPENT)
        await settle()
        rig.make_failure = None
        await advance(UPKEEP_SECONDS)

        assert rig.warnings == ["an environment could not be started: no memory"]
        assert len(rig.alive) == 1


async def test_init_that_raises_something_else_is_told_and_the_environment_closed() -> None:
    async with Rig(min_environments=1) as rig:
        await advance(STEADY_SECONDS)
        rig.made[0].init_failure = Broken("a fault")
        rig.made[0].change(Readiness.COLD)
        await settle()

        assert rig.warnings == ["an environment could not be started: a fault"]
        assert rig.made[0].closed == 1
        [task] = await rig.calls(1)
        assert not task.done()


async def test_start_ahead_that_the_end_interrupts_is_not_reported() -> None:
    async with Rig(min_environments=1) as rig:
        await advance(STEADY_SECONDS)
        rig.is_slow = True
        rig.made[0].change(Readiness.SPENT)
        await settle()
        rig.made[1].init_failure = InitFailed("closed")
        rig.spawn(opened(rig))
    assert rig.warnings == []


async def opened(rig: Rig) -> None:
    rig.made[1].started.set()


async def test_replace_leaves_nothing_of_the_old_code_at_rest() -> None:
    async with Rig() as rig:
        await rig.calls(3)
        rig.made[0].finish()
        rig.made[1].finish(Readiness.COLD)
        rig.made[2].finish()
        rig.made[2].change(Readiness.LOST)
        await rig.pool.replace(rig.make)
        await settle()

        assert [environment.closed for environment in rig.made[:3]] == [1, 1, 1]


async def test_replacement_that_died_before_traffic_moved_gets_none() -> None:
    async with Rig() as rig:
        rig.is_slow = True
        replacing = rig.spawn(rig.pool.replace(rig.make))
        await settle()
        rig.made[0].started.set()
        await settle()
        replacing.result()
        rig.made[0].change(Readiness.SPENT)
        rig.is_slow = False
        await rig.calls(1)

        assert rig.made[0].requests == []
        assert rig.made[1].requests == ["1"]

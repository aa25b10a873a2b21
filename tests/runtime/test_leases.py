"""The right to run; how a pool uses it is in test_pool.py."""

import asyncio

import pytest
from anyio.lowlevel import checkpoint

from gateway.core.errors import Throttled
from gateway.core.notices import OperatorWarning
from gateway.runtime.leases import STOPPING, Leases, PoolSettings
from gateway.testing import FakeSink


async def test_leases_of_something_else_say_what_to_do_about_it() -> None:
    sink = FakeSink()
    leases = Leases(PoolSettings(0), sink, "give another --rie")

    with pytest.raises(Throttled, match=r"^give another --rie$"):
        await leases.wait()
    leases.report()

    assert sink.notices == [OperatorWarning("invocations throttled: 1; give another --rie")]


async def test_lease_that_ends_is_the_next_waiters() -> None:
    leases = Leases(PoolSettings(1, queue_timeout_seconds=60), FakeSink())
    leases.running = 1
    async with asyncio.TaskGroup() as tasks:
        first, second = (tasks.create_task(leases.wait()) for _ in range(2))
        await checkpoint()
        leases.pass_on()
        await first
        was_done = second.done()
        leases.pass_on()
    leases.pass_on()

    assert not was_done
    assert leases.running == 0


async def test_end_refuses_waiting_and_later_callers() -> None:
    leases = Leases(PoolSettings(1, queue_timeout_seconds=60), FakeSink())
    leases.running = 1
    waiting = asyncio.get_running_loop().create_task(leases.wait())
    await checkpoint()
    leases.end()

    for refused in (waiting, leases.wait()):
        with pytest.raises(Throttled, match=STOPPING):
            await refused

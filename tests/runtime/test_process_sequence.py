"""The processes of an environment, with starts or ends that hang: a file server that is gone."""

import asyncio
from pathlib import Path

import pytest

from gateway.runtime import process_sequence
from gateway.runtime.launch import Outlets, Plan
from tests.runtime.api_client import PATIENCE_SECONDS, until
from tests.runtime.environments import Puppet, PuppetLauncher, world


class HangingLauncher(PuppetLauncher):
    """Starts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = self.cancelled = 0

    async def start(self, plan: Plan, outlets: Outlets) -> Puppet:
        self.attempts += 1
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled += 1
        raise asyncio.CancelledError


class Unkillable(Puppet):
    """A process whose end is never reported."""

    def kill(self) -> None:
        self.is_killed = True


class UnkillableLauncher(PuppetLauncher):
    """Starts processes whose end is never reported."""

    async def start(self, plan: Plan, outlets: Outlets) -> Puppet:
        self.process = Unkillable()
        return self.process


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_sequence, "CLOSE_SECONDS", 0.05)


async def test_start_that_hangs_is_over_at_the_limits_and_ended_by_the_close(
    tmp_path: Path,
) -> None:
    launcher = HangingLauncher()
    async with world(launcher, tmp_path, init_seconds=0.05, timeout_seconds=0.05) as it:
        result = await it.call()
        assert (launcher.attempts, launcher.cancelled) == (1, 0)

    assert b"Task timed out" in result.payload
    assert launcher.cancelled == 1


async def test_close_during_a_start_that_hangs_answers_the_caller(tmp_path: Path) -> None:
    launcher = HangingLauncher()
    async with world(launcher, tmp_path) as it:
        result = it.start()
        await until(lambda: launcher.attempts)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.environment.close()

        assert b"Runtime exited" in (await result).payload
    assert launcher.cancelled == 1


async def test_close_does_not_wait_long_for_an_end_that_is_not_reported(tmp_path: Path) -> None:
    launcher = UnkillableLauncher()
    async with world(launcher, tmp_path) as it:
        result = it.start()
        await until(lambda: hasattr(launcher, "process"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.environment.close()
        await result

        assert launcher.process.is_killed
        launcher.process.exited.set_result(0)  # what comes later finds its future as it was

"""What an environment has beside its process: nothing of it is left by starts that fail."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.runtime import outlet
from gateway.runtime.environment_limits import EnvironmentLimits
from gateway.runtime.launch import LaunchFailed
from gateway.runtime.resources import Resources
from tests.runtime.environments import PuppetLauncher, World, descriptor_count


def resources_of(launcher: PuppetLauncher, code: Path) -> Resources:
    return World(launcher, code).environment._resources


async def turn() -> None:
    """Let transports close."""
    later = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, later.set_result, None)
    await later


def no_launch(launcher: PuppetLauncher, _monkeypatch: pytest.MonkeyPatch) -> None:
    launcher.failure = LaunchFailed("no such file")


def no_second_pipe(_launcher: PuppetLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []

    def pipe() -> tuple[int, int]:
        if len(made) % 2:
            made.append((0, 0))
            raise OSError("too many open files")
        made.append(real())
        return made[-1]

    real = outlet.pipe
    monkeypatch.setattr(outlet, "pipe", pipe)


def no_group(_launcher: PuppetLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(_self: EnvironmentLimits) -> None:
        raise LaunchFailed("no control group")

    monkeypatch.setattr(EnvironmentLimits, "make", make)


def no_directory(_launcher: PuppetLauncher, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdtemp(**_options: Any) -> str:
        raise OSError("no space left")

    monkeypatch.setattr("gateway.runtime.environment_limits.tempfile.mkdtemp", mkdtemp)


@pytest.mark.parametrize("fault", [no_launch, no_second_pipe, no_group, no_directory])
async def test_failed_starts_leave_nothing(
    fault: Callable[[PuppetLauncher, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launcher = PuppetLauncher()
    resources = resources_of(launcher, tmp_path)
    before = descriptor_count()
    fault(launcher, monkeypatch)
    counts = set()
    for _ in range(10):
        with pytest.raises((LaunchFailed, OSError)):
            await resources.start()
        counts.add(descriptor_count())
    await resources.close()
    await turn()

    assert len(counts) == 1
    assert descriptor_count() == before


async def test_start_after_a_failed_one_has_the_same_port(tmp_path: Path) -> None:
    launcher = PuppetLauncher()
    resources = resources_of(launcher, tmp_path)
    launcher.failure = LaunchFailed("not yet")
    with pytest.raises(LaunchFailed):
        await resources.start()
    address = resources.api.address
    launcher.failure = None
    process = await resources.start()
    os.write(launcher.output, b"printed\n")

    assert launcher.address == address
    assert [entry.text for entry in resources.collect()] == ["printed"]
    process.kill()
    await resources.close()


async def test_resources_that_were_never_opened_can_be_closed(tmp_path: Path) -> None:
    resources = resources_of(PuppetLauncher(), tmp_path)

    assert resources.collect() == []
    await resources.close()

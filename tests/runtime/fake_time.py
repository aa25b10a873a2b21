"""An event loop whose time only a test moves; a module that imports `anyio_backend` runs on it."""

import asyncio
from typing import Any

import pytest

from gateway.telemetry.system import turns_of_the_loop


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time only a test moves."""

    seconds = 0.0

    def time(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": FakeTimeLoop}


class LoopClock:
    """The time of the running loop."""

    def now(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let everything run that can run without time going by."""
    await turns_of_the_loop(12)


async def advance(seconds: float) -> None:
    """Move the time, and let everything run that waits for it."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FakeTimeLoop)
    loop.seconds += seconds
    await settle()


def pending_timers() -> list[asyncio.TimerHandle]:
    """Return the timers of the running loop that are to go off."""
    loop: Any = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled()]

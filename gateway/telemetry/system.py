"""The clock and the random draws of this machine: the only file that asks for either."""

import asyncio
import os
import time
from collections.abc import Generator
from types import coroutine


class SystemClock:
    """The real clock."""

    now = staticmethod(time.time)  # noqa: TID251 - this is the clock that others take
    monotonic = staticmethod(time.monotonic)  # noqa: TID251


CLOCK = SystemClock()


async def pause(seconds: float) -> None:
    """Let this time pass on the event loop; nothing is left of a pause that is cancelled."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    timer = loop.call_later(seconds, over.set_result, None)
    try:
        await over
    finally:
        timer.cancel()


@coroutine
def turns_of_the_loop(count: int) -> Generator[None, None, None]:
    """Let the event loop run what is ready this many times; no time passes.

    A generator and not a coroutine around `asyncio.sleep(0)`, which is a second frame: a handler on
    the event loop takes two turns for each request.
    """
    for _ in range(count):
        yield


class HexDraws:
    """Hands out random hex digits from the operating system, fetched in blocks.

    One `os.urandom` call per request would be a system call on the data path; a block of 4 KB
    serves over a hundred requests.
    """

    BLOCK_BYTES = 4096

    def __init__(self) -> None:
        self._digits = ""
        self._used = 0

    def __call__(self, count: int) -> str:
        """Return `count` random hex digits, lower case."""
        end = self._used + count
        if end > len(self._digits):
            self._digits = os.urandom(self.BLOCK_BYTES).hex()
            self._used, end = 0, count
        drawn = self._digits[self._used : end]
        self._used = end
        return drawn

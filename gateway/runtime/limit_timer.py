"""The one time limit that runs in an execution environment: most limits are never reached."""

import asyncio
import math
from collections.abc import Callable

from gateway.core.interfaces import Clock

SMALLEST_WAIT_SECONDS = 0.0005


class LimitTimer:
    """Calls back once a limit is over; a new limit replaces the one before.

    A timer that is due earlier stays and is then set again: a timer per limit would be one per
    invocation.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, on_over: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._on_over = on_over
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._timer_at = math.inf

    def restart(self, seconds: float) -> None:
        """Count a limit from now."""
        self._deadline = self._clock.monotonic() + seconds
        if self._timer is None or self._deadline < self._timer_at:
            self._set(seconds)

    def stop(self) -> None:
        """Have no limit."""
        self._deadline = math.inf

    def close(self) -> None:
        """Leave no timer behind."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        left = self._deadline - self._clock.monotonic()
        if left > SMALLEST_WAIT_SECONDS:
            self._set(left)
        else:
            self._on_over()

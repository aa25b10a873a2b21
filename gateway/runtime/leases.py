"""The right to run: as many invocations at once as there may be, and a queue for the others.

A count of running invocations is the concurrency, as it is AWS's (lambda.md 7).
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from gateway.core.errors import Throttled
from gateway.core.interfaces import Sink
from gateway.core.notices import OperatorWarning

WAITING_LIMIT = 1000
"""Invocations that may wait for a lease; more are throttled at once. Ours."""

STOPPING = "the gateway is stopping"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many environments there may be, and for how long."""

    concurrency: int = 50
    """Invocations that run at once; 0 throttles all, as a reserved concurrency of 0 does."""
    queue_timeout_seconds: float = 0.0
    """How long an invocation waits for a lease; 0 throttles at once, as AWS does."""
    idle_seconds: float = 600.0
    """AWS says no figure; 10 minutes were measured (mikhail.io, August 2019)."""
    min_environments: int = 0
    """Started ahead and kept however idle, up to the concurrency."""
    waiting_limit: int = WAITING_LIMIT


class Leases:
    """Counts running invocations, and lets the others wait, first come, first served.

    As long as one waits, all leases are taken.
    """

    def __init__(self, settings: PoolSettings, sink: Sink, reason: str = "") -> None:
        """Take the limits, and what a refusal says where it is not about environments."""
        self.running = 0
        self.limit = settings.concurrency
        self._seconds = settings.queue_timeout_seconds
        self._most_waiting = settings.waiting_limit
        self._sink = sink
        self._waiters: deque[asyncio.Future[bool]] = deque()
        """In order of arrival; the result says whether they got a lease."""
        self._throttled = 0
        self._reason = reason or (
            f"all {self.limit} execution environments are busy; raise --concurrency, "
            "or let invocations wait with --queue-timeout"
        )

    async def wait(self) -> None:
        """Wait for a lease, all being taken; raises Throttled when it does not come in time."""
        if self._seconds <= 0 or len(self._waiters) >= self._most_waiting:
            raise self._refusal()
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(self._seconds, self._expire, waiter)
        self._waiters.append(waiter)
        try:
            if not await waiter:
                raise self._refusal()
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            timer.cancel()

    def _leave(self, waiter: asyncio.Future[bool]) -> None:
        """Remove a cancelled waiter; a lease that it was granted just before goes to the next."""
        if waiter.cancelled():
            with suppress(ValueError):
                self._waiters.remove(waiter)
        elif waiter.result():
            self.pass_on()

    def _expire(self, waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            self._waiters.remove(waiter)
            waiter.set_result(False)

    def pass_on(self) -> None:
        """End a lease: the longest waiter gets it, if there is one."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():  # else its caller has just left
                waiter.set_result(True)
                return
        self.running -= 1

    def end(self) -> None:
        """Report, and refuse all invocations that wait or come."""
        self.report()
        self.limit = self._seconds = 0
        self._reason = STOPPING
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(False)
        self._waiters.clear()

    def report(self) -> None:
        """Say how many were throttled since the last time, if any were."""
        if self._throttled:
            text = f"invocations throttled: {self._throttled}; {self._reason}"
            self._sink.emit(OperatorWarning(text))
            self._throttled = 0

    def _refusal(self) -> Throttled:
        self._throttled += 1
        return Throttled(self._reason)

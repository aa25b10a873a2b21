"""Leases of versions: granted by call, refused with a reason, waited for up to a limit.

Strategy: core/concurrency.py counts leases and keeps the order of callers. This adds the time that
a caller waits, the text of a refusal, and what the operator is told of refusals. A caller that gets
a lease at once costs no future, no task and no timer.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.core.concurrency import Concurrency, Done, Lease
from gateway.core.errors import Throttled
from gateway.core.interfaces import Sink
from gateway.core.notices import OperatorWarning

WAITING_LIMIT = 1000
"""Invocations that may wait for a lease; more are throttled at once. Ours."""

REPORT_SECONDS = 1.0
"""How long throttled invocations are counted before the operator is told of them."""

STOPPING_REASON = "the gateway is stopping"
"""Why an invocation that comes at the end is throttled."""

ZERO_REASON = "the concurrency is 0, which throttles all invocations; raise --concurrency"


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    """How many leases there are, and how long an invocation waits for one."""

    concurrency: int = 50
    """Invocations that run at once; 0 throttles all, as a reserved concurrency of 0 does."""
    queue_timeout_seconds: float = 0.0
    """How long an invocation waits for a lease; 0 throttles at once, as AWS does."""
    waiting_limit: int = WAITING_LIMIT
    """How many wait; more are throttled at once."""


class LeaseQueue:
    """The leases of one limit, for invocations that may wait for them."""

    def __init__(self, limits: LeaseLimits, sink: Sink, reason: str) -> None:
        """Take the limits, and what a refusal says when all leases are taken."""
        self._concurrency = Concurrency(limits.concurrency)
        self.take = self._concurrency.take
        self.hold = self._concurrency.hold
        self._seconds = limits.queue_timeout_seconds
        self._waiting_limit = limits.waiting_limit
        self._sink = sink
        self._reason = reason if limits.concurrency else ZERO_REASON
        self._throttled = 0
        self._report_timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        """Return how many leases are held."""
        return self._concurrency.running

    def acquire(self, done: Done, /) -> Callable[[], None] | None:
        """Call `done` once, as `Leases.acquire` of core/interfaces.py says."""
        lease = self.take()
        if lease is not None:
            done(lease)
        elif self._seconds <= 0 or self._concurrency.waiting >= self._waiting_limit:
            done(self._refusal())
        else:
            return self._queued(done)
        return None

    async def wait(self) -> Lease:
        """Return a lease, all being taken now; raises Throttled when none comes in time."""
        answer: asyncio.Future[Lease | Throttled] = asyncio.get_running_loop().create_future()
        leave = self.acquire(partial(hand_over, answer))
        try:
            outcome = await answer
        except asyncio.CancelledError:
            if leave is not None:
                leave()
            give_back(answer)
            raise
        if isinstance(outcome, Throttled):
            raise outcome
        return outcome

    def end(self) -> None:
        """Report, and refuse all invocations that wait or come."""
        self._report()
        self._seconds, self._reason = 0, STOPPING_REASON
        self._concurrency.end(lambda: Throttled(STOPPING_REASON))

    def _queued(self, done: Done) -> Callable[[], None]:
        """Queue a caller; returns what takes it out of the queue."""

        def settled(outcome: Lease | Throttled) -> None:
            timer.cancel()
            done(outcome)

        def leave() -> None:
            timer.cancel()
            self._concurrency.leave(settled)

        def expire() -> None:
            self._concurrency.leave(settled)
            done(self._refusal())

        timer = asyncio.get_running_loop().call_later(self._seconds, expire)
        self._concurrency.wait(settled)
        return leave

    def _refusal(self) -> Throttled:
        if self._reason is not STOPPING_REASON:
            self._throttled += 1
            if self._report_timer is None:
                loop = asyncio.get_running_loop()
                self._report_timer = loop.call_later(REPORT_SECONDS, self._report)
        return Throttled(self._reason)

    def _report(self) -> None:
        """Say how many were throttled since the last time, if any were."""
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None
            text = f"invocations throttled: {self._throttled}; {self._reason}"
            self._sink.emit(OperatorWarning(text))
            self._throttled = 0


class LeaseContext:
    """Takes a lease, waits for it if need be, and gives it back: an async context manager."""

    __slots__ = ("_lease", "_queue")

    def __init__(self, queue: LeaseQueue) -> None:
        self._queue = queue

    async def __aenter__(self) -> Lease:
        self._lease = self._queue.take() or await self._queue.wait()
        return self._lease

    async def __aexit__(self, *_exception: object) -> None:
        self._lease.release()


class VersionLeases:
    """Leases of several versions (core/interfaces.py); versions may share a queue, as those of one
    function share its reserved concurrency."""

    def __init__(self, queues: dict[Hashable, LeaseQueue]) -> None:
        """Take the queue of each version, and keep the dict: versions come and go there."""
        self._queues = queues

    def take(self, version: Hashable, /) -> Lease | None:
        """Return a lease when one is free now."""
        return self._queues[version].take()

    def wait(self, version: Hashable, /) -> Coroutine[Any, Any, Lease]:
        """Return a lease, all being taken now; raises Throttled when none comes in time."""
        return self._queues[version].wait()

    def acquire(self, version: Hashable, done: Done, /) -> Callable[[], None] | None:
        """Call `done` with a lease or a refusal."""
        return self._queues[version].acquire(done)

    def hold(self, version: Hashable, /) -> Lease:
        """Return a lease whatever the limit."""
        return self._queues[version].hold()

    def of(self, version: Hashable, /) -> LeaseContext:
        """Return what takes a lease for the length of an `async with`; raises Throttled there."""
        return LeaseContext(self._queues[version])

    def end(self) -> None:
        """Refuse all invocations that wait or come."""
        for queue in self._queues.values():
            queue.end()


def hand_over(answer: asyncio.Future[Lease | Throttled], outcome: Lease | Throttled) -> None:
    """Tell a waiting task; the lease of one that was just cancelled goes to the next."""
    if not answer.done():
        answer.set_result(outcome)
    elif isinstance(outcome, Lease):
        outcome.release()


def give_back(answer: asyncio.Future[Lease | Throttled]) -> None:
    """Give back a lease that came just before its task was cancelled."""
    if answer.done() and not answer.cancelled():
        outcome = answer.result()
        if isinstance(outcome, Lease):
            outcome.release()

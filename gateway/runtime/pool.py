"""The execution environments of one function: assign, keep warm, retire, replace.

Strategy: a count of running invocations is the concurrency, as it is AWS's (lambda.md 7). Who gets
a lease takes the most recently used idle environment or makes a new one, at once and on the event
loop; who gets none is throttled, or waits for one, first come, first served. A lease lasts until
the environment says that it is free, which is later than the response (lambda.md 1.10).

Environments of replaced code finish what they run and count until then. So there are never more
than `concurrency` environments, and beside them those that a replace prepares: as many as have
worked lately, so that a reload under load makes nobody wait for a cold start. One timer a second
retires idle ones and reports the throttled.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Self

from gateway.core.errors import Throttled
from gateway.core.interfaces import Clock, Sink
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.notices import OperatorWarning

WAITING_LIMIT = 1000
"""Invocations that may wait for a lease; more are throttled at once. Ours."""

SWEEP_SECONDS = 1.0
"""How often idle environments are looked at and throttled invocations reported."""

LATELY_SECONDS = 10.0
"""An environment that ran something in this time is replaced before traffic moves."""

LIFETIME_SECONDS = 4 * 3600.0
"""AWS ends environments every few hours (lambda.md 1.10); ours end when next idle after this,
unless `min_environments` would not be left."""


STOPPING = "the gateway is stopping"


class InitFailed(Exception):
    """The function's code could not be loaded; the text says why."""


class Environment(Protocol):
    """Runs one invocation at a time and tells the pool, through the `on_free` it was made with,
    when it can take the next one: once after each invocation, whatever became of it."""

    def invoke(self, invocation: Invocation, /) -> Awaitable[InvocationResult]:
        """Run an invocation, after init where that is still to be done; the run goes on even if
        the caller stops waiting. An exception says that the environment is of no more use."""
        ...

    async def init(self) -> None:
        """Start ahead of time, without calling `on_free`; raises InitFailed, after which `invoke`
        tries again (lambda.md 1.10)."""
        ...

    async def close(self) -> None:
        """End all that was started, whatever it is doing; called once."""
        ...


Make = Callable[[Callable[[Environment], None]], Environment]
"""Makes an environment that will call what is given; takes no time, starts nothing."""


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


class Leases:
    """Counts who runs, and lets the others wait, first come, first served.

    As long as somebody waits, all leases are taken.
    """

    def __init__(self, settings: PoolSettings, sink: Sink, reason: str = "") -> None:
        """Take the limits, and what a refusal says where it is not about environments."""
        self.running = 0
        self.limit = settings.concurrency
        self._seconds = settings.queue_timeout_seconds
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
        if self._seconds <= 0 or len(self._waiters) >= WAITING_LIMIT:
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
        """Forget a waiter whose caller left; a lease that it got just before is passed on."""
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
        """End a lease: it is the longest waiter's now, or nobody's."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():  # else its caller has just left
                waiter.set_result(True)
                return
        self.running -= 1

    def end(self) -> None:
        """Report, and refuse all who wait or come."""
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


@dataclass(slots=True, eq=False)
class Slot:
    """What the pool knows of an environment."""

    generation: int
    made_at: float
    idle_since: float
    environment: Environment = field(init=False)
    invocation: Invocation | None = None
    """What it runs; None while it is prepared, idle or closed."""

    def is_due(self, now: float, idle_seconds: float) -> bool:
        """Say whether it has been idle for too long, or is too old."""
        return now - self.idle_since >= idle_seconds or now - self.made_at >= LIFETIME_SECONDS


class Pool:
    """An Invoker over environments that it makes, and an async context manager that owns them."""

    def __init__(self, make: Make, settings: PoolSettings, *, clock: Clock, sink: Sink) -> None:
        self._make = make
        self._settings = settings
        self._clock = clock
        self._sink = sink
        self._min_environments = min(settings.min_environments, settings.concurrency)
        self._leases = Leases(settings, sink)
        self._idle: list[Slot] = []
        """Of the current generation, the least recently used first."""
        self._slots: set[Slot] = set()
        """Everything that is not closed, or being closed."""
        self._generation = self._last_generation = 0
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._closings = await asyncio.TaskGroup().__aenter__()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        try:
            await together([self._warm() for _ in range(self._min_environments)])
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Close everything, whatever it runs; later invocations are throttled."""
        self._is_over = True
        self._leases.end()
        self._timer.cancel()
        self._idle.clear()
        for slot in [*self._slots]:
            slot.invocation = None
            self._close(slot)
        await self._closings.__aexit__(None, None, None)

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Run in an environment; raises Throttled when none is free in time, and what the
        environment raises."""
        leases = self._leases
        if leases.running < leases.limit:
            leases.running += 1
        else:
            await leases.wait()
        slot = self._idle.pop() if self._idle else self._fresh()
        slot.invocation = invocation
        try:
            return await slot.environment.invoke(invocation)
        except Exception:
            if slot.invocation is invocation:  # it has not come back by itself
                slot.invocation = None
                self._close(slot)
                leases.pass_on()
            raise

    async def replace(self, make: Make) -> None:
        """Move to environments of another make as soon as these are ready; raises InitFailed, and
        then goes on as before. Of several that overlap, the one called last wins."""
        self._last_generation += 1
        generation = self._last_generation
        slots: list[Slot] = []
        try:
            for _ in range(max(self._min_environments, self._used_lately(), 1)):
                slots.append(self._made(make, generation))  # noqa: PERF401 - a later one may fail
            await together([slot.environment.init() for slot in slots])
        except BaseException:
            self._close(*slots)
            raise
        if self._is_over or generation < self._generation:
            self._close(*slots)
        else:
            self._move(make, slots)

    def _used_lately(self) -> int:
        """Return how many environments run something or did a moment ago, up to the concurrency:
        what an earlier replace has prepared counts as well."""
        since = self._clock.monotonic() - LATELY_SECONDS
        used = sum(slot.invocation is not None or slot.idle_since > since for slot in self._slots)
        return min(used, self._settings.concurrency)

    def _move(self, make: Make, slots: list[Slot]) -> None:
        """Make these the current generation; who runs in the former one is closed when free."""
        self._close(*self._idle)
        self._make, self._generation, self._idle = make, slots[0].generation, slots
        for slot in slots:
            slot.idle_since = self._clock.monotonic()

    async def _warm(self) -> None:
        """Start an environment ahead of time; one that fails is kept, as AWS does: its next
        invocation runs init again and answers with the error (lambda.md 1.10)."""
        slot = self._made(self._make, self._generation)
        try:
            await slot.environment.init()
        except InitFailed as failure:
            self._sink.emit(OperatorWarning(f"an environment could not be started: {failure}"))
        self._rest(slot)

    def _made(self, make: Make, generation: int) -> Slot:
        if self._is_over:
            raise Throttled(STOPPING)
        now = self._clock.monotonic()
        slot = Slot(generation, made_at=now, idle_since=now)
        slot.environment = make(partial(self._free, slot))
        self._slots.add(slot)
        return slot

    def _fresh(self) -> Slot:
        try:
            return self._made(self._make, self._generation)
        except BaseException:
            self._leases.pass_on()
            raise

    def _free(self, slot: Slot, _environment: Environment) -> None:
        """Take an environment back; said twice, or after its end, this means nothing."""
        if slot.invocation is not None:
            slot.invocation = None
            self._rest(slot)
            self._leases.pass_on()

    def _rest(self, slot: Slot) -> None:
        if slot.generation == self._generation:
            slot.idle_since = self._clock.monotonic()
            self._idle.append(slot)
        else:
            self._close(slot)

    def _sweep(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        self._leases.report()
        self._retire()

    def _retire(self) -> None:
        """Close who has been idle for too long, the least recently used first."""
        now, idle_seconds = self._clock.monotonic(), self._settings.idle_seconds
        living = sum(slot.generation == self._generation for slot in self._slots)
        due = [slot for slot in self._idle if slot.is_due(now, idle_seconds)]
        for slot in due[: max(living - self._min_environments, 0)]:
            self._idle.remove(slot)
            self._close(slot)

    def _close(self, *slots: Slot) -> None:
        """Begin to close, once each."""
        for slot in self._slots.intersection(slots):
            self._slots.remove(slot)
            self._closings.create_task(self._closed(slot.environment))

    async def _closed(self, environment: Environment) -> None:
        try:
            await environment.close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed all the same
            text = f"an execution environment could not be closed: {error!r}"
            self._sink.emit(OperatorWarning(text))


async def together(steps: Sequence[Coroutine[None, None, None]]) -> None:
    """Run to the end of all, or of the first that fails: the others are cancelled and its
    exception is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                tasks.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None

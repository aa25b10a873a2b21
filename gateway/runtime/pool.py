"""The execution environments of one function: assign, keep warm, retire, replace.

Strategy: an invocation comes with a lease and takes the most recently used environment whose
runtime waits for an event; else one that is being started ahead of time, whose init it then shares;
else one that lost its process to a crash or a timeout and has to do its init inside the invocation;
else a new one. So a broken environment is never preferred to a warm one. An environment whose init
failed inside an invocation, or whose process ended while it was idle, is closed. An environment is
free later than its response (lambda.md 1.10), and runs on when its caller leaves: the pool holds a
lease of its own from the end of the call until then. So an invocation with a lease always finds an
environment or the room for a new one.

An environment may die with an event on its way. When it is certain that no process has read the
event, the invocation goes to another environment, and at last to a new one; else it is not
repeated.

Environments of replaced code finish what they run and count until then. So there are never more
than `environments` of them, and beside them those that a replace prepares: as many as have
worked lately, so that a reload under load makes no invocation wait for a cold start. One timer a
second retires idle ones and starts what is missing of the minimum.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

from gateway.core.delays import Pauses
from gateway.core.errors import Throttled
from gateway.core.interfaces import Clock, Leases, Sink
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.notices import OperatorWarning
from gateway.runtime.leases import STOPPING_REASON
from gateway.runtime.slots import (
    Environment,
    InitFailed,
    Make,
    Readiness,
    Resting,
    Slot,
    Undelivered,
)

DELIVERIES = 3
"""How many environments an invocation is given to while no process reads its event: when one died
at this moment, so may have others, but not the last one, which is new."""

UPKEEP_SECONDS = 1.0
"""How often idle environments are looked at."""

LATELY_SECONDS = 10.0
"""An environment that ran something in this time is replaced before traffic moves."""

STEADY_SECONDS = 10.0
"""An environment that was warm for this long has not failed at its start."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many environments there may be, and for how long."""

    environments: int = 50
    """As many as there are leases."""
    idle_seconds: float = 600.0
    """AWS says no figure; 10 minutes were measured (mikhail.io, August 2019)."""
    min_environments: int = 0
    """Started ahead and kept however idle, up to the number of environments."""


class Pool:
    """An Invoker over environments that it makes, and an async context manager that owns them.

    Each invocation comes with a lease of the version, held by its caller.
    """

    def __init__(  # noqa: PLR0913 - one collaborator each
        self,
        make: Make,
        settings: PoolSettings,
        *,
        version: Hashable,
        leases: Leases,
        clock: Clock,
        sink: Sink,
    ) -> None:
        self._make = make
        self._settings = settings
        self._version = version
        self._leases = leases
        self._clock = clock
        self._sink = sink
        self._min_environments = min(settings.min_environments, settings.environments)
        self._resting = Resting()
        self._slots: set[Slot] = set()
        """Everything that is not closed, or being closed."""
        self._generation = self._last_generation = 0
        self._pauses = Pauses()
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._timer = asyncio.get_running_loop().call_later(UPKEEP_SECONDS, self._sweep)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Close everything, whatever it runs; later invocations are throttled."""
        self._is_over = True
        self._timer.cancel()
        for slot in [*self._slots]:
            slot.invocation = None
            slot.end_lease()
            self._close(slot)
        await self._tasks.__aexit__(None, None, None)

    async def start(self) -> InitFailed | None:
        """Start the minimum ahead of time, at least one environment, to see that the code loads.

        Returns a failure, if there was one. What failed is kept, as AWS does: its next invocation
        runs init again and answers with the error (lambda.md 1.10).
        """
        slots = [self._ahead() for _ in range(max(self._min_environments, 1))]
        failures: list[InitFailed] = []
        await together([self._warm(slot, failures.append) for slot in slots])
        return failures[0] if failures else None

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Run in an environment; raises Throttled once the pool is over, and what the environment
        raises."""
        for _ in range(DELIVERIES - 1):  # nothing has been executed
            with suppress(Undelivered):
                return await self._run(invocation, self._resting.pop() or self._made_in_place())
        try:
            return await self._run(invocation, self._made_in_place())
        except Undelivered as failure:
            return failure.result

    async def _run(self, invocation: Invocation, slot: Slot) -> InvocationResult:
        """Run in one environment, and hold a lease for it if it is not free afterwards."""
        slot.invocation = invocation
        answer = None
        try:
            answer = slot.environment.invoke(invocation)
            return await answer
        except BaseException:
            if slot.invocation is invocation and (answer is None or has_failed(answer)):
                self._abandon(slot)
            raise
        finally:
            if slot.invocation is invocation:
                slot.lease = self._leases.hold(self._version)

    def _abandon(self, slot: Slot) -> None:
        """Close an environment that will not say that it is free."""
        slot.invocation = None
        self._note_end(slot)
        self._close(slot)
        self._refill()

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
        """Return how many environments run something or did a moment ago, up to the limit; those
        that an earlier replace has prepared count as well."""
        since = self._clock.monotonic() - LATELY_SECONDS
        used = sum(slot.invocation is not None or slot.idle_since > since for slot in self._slots)
        return min(used, self._settings.environments)

    def _move(self, make: Make, slots: list[Slot]) -> None:
        """Make these the current generation; what runs in the former one is closed when free."""
        self._close(*self._resting)
        self._make, self._generation = make, slots[0].generation
        self._pauses.succeed()
        for slot in slots:
            slot.warm_at = self._clock.monotonic()
            self._rest(slot)

    # Starts ahead of time.

    def _refill(self) -> None:
        """Start what is missing of the minimum, after a pause if starts have failed lately."""
        living = sum(slot.generation == self._generation for slot in self._slots)
        missing = self._min_environments - living + self._resting.useless()
        if self._is_over or not self._pauses.allow(self._clock.monotonic()):
            return
        for _ in range(missing):
            try:
                slot = self._ahead()
            except Exception as error:  # noqa: BLE001 - the pool goes on
                self._tell_failure(error)
            else:
                self._tasks.create_task(self._warm_again(slot))

    def _ahead(self) -> Slot:
        """Return an environment that is to be started ahead of time."""
        slot = self._resting.pop_cold() or self._made_in_place()
        self._resting.warming.append(slot)
        return slot

    async def _warm(self, slot: Slot, tell: Callable[[InitFailed], None]) -> None:
        """Start an environment; one that fails is kept, as its next invocation runs init again."""
        if slot not in self._resting.warming:  # it has got an invocation before this step
            return
        try:
            await slot.environment.init()
        except InitFailed as failure:
            self._pauses.fail(self._clock.monotonic())
            if slot in self._slots:  # else it was closed meanwhile
                tell(failure)
        else:
            slot.warm_at = self._clock.monotonic()
        if self._resting.remove(slot):  # else it has got an invocation
            self._rest(slot)

    async def _warm_again(self, slot: Slot) -> None:
        try:
            await self._warm(slot, self._tell_failure)
        except Exception as error:  # noqa: BLE001 - the pool goes on
            self._tell_failure(error)
            self._close(slot)

    def _tell_failure(self, failure: Exception) -> None:
        self._pauses.fail(self._clock.monotonic())
        self._sink.emit(OperatorWarning(f"an environment could not be started: {failure}"))

    def _note_end(self, slot: Slot) -> None:
        """Count an environment that lost its process as one whose start has failed, unless it has
        served or was warm for a while."""
        now = self._clock.monotonic()
        if slot.warm_at is not None and now - slot.warm_at < STEADY_SECONDS:
            self._pauses.fail(now)
        slot.warm_at = None

    # What becomes of an environment.

    def _made(self, make: Make, generation: int) -> Slot:
        if self._is_over:
            raise Throttled(STOPPING_REASON)
        now = self._clock.monotonic()
        slot = Slot(generation, made_at=now, idle_since=now)
        slot.environment = make(partial(self._changed, slot))
        self._slots.add(slot)
        return slot

    def _made_in_place(self) -> Slot:
        """Make an environment; when there are as many as may be, in the place of one that rests."""
        if len(self._slots) >= self._settings.environments:
            resting = self._resting
            self._close(*[*resting.lost, *resting.cold, *resting.ready][:1])
        return self._made(self._make, self._generation)

    def _changed(self, slot: Slot, _environment: Environment) -> None:
        """Take an environment back, or put an idle one where it belongs now; said once more, or
        during its start or after its end, this means nothing."""
        if slot.invocation is not None:
            slot.invocation = None
            if slot.environment.readiness is Readiness.READY:
                slot.warm_at = None
                self._pauses.succeed()
            self._rest(slot)
            slot.end_lease()
        elif slot not in self._resting.warming and self._resting.remove(slot):
            self._rest(slot)

    def _rest(self, slot: Slot) -> None:
        readiness = slot.environment.readiness
        if slot.generation == self._generation and readiness is not Readiness.SPENT:
            slot.idle_since = self._clock.monotonic()
            self._resting.add(slot, readiness)
        else:
            self._close(slot)
        if readiness is not Readiness.READY:
            self._note_end(slot)
            self._refill()

    def _sweep(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(UPKEEP_SECONDS, self._sweep)
        self._retire()
        self._refill()

    def _retire(self) -> None:
        """Close what has been idle for too long, the least recently used first, and of those that
        are ready no more than the minimum can do without."""
        now, idle_seconds = self._clock.monotonic(), self._settings.idle_seconds
        resting = self._resting
        living = sum(slot.generation == self._generation for slot in self._slots)
        spare = max(living - resting.useless() - self._min_environments, 0)
        due = [slot for slot in resting.ready if slot.is_due(now, idle_seconds)][:spare]
        due += [slot for slot in resting.cold + resting.lost if slot.is_due(now, idle_seconds)]
        self._close(*due)

    def _close(self, *slots: Slot) -> None:
        """Begin to close, once each."""
        for slot in self._slots.intersection(slots):
            self._slots.remove(slot)
            self._resting.remove(slot)
            self._tasks.create_task(self._closed(slot.environment))

    async def _closed(self, environment: Environment) -> None:
        try:
            await environment.close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed all the same
            text = f"an execution environment could not be closed: {error!r}"
            self._sink.emit(OperatorWarning(text))


def has_failed(answer: asyncio.Future[InvocationResult]) -> bool:
    """Say whether an environment has raised, even if its caller was cancelled at that moment."""
    return answer.done() and not answer.cancelled() and answer.exception() is not None


async def together(steps: Sequence[Coroutine[None, None, None]]) -> None:
    """Run to the end of all, or of the first that fails: the others are cancelled and its
    exception is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                tasks.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None

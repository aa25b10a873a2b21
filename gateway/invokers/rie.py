"""A pool of AWS's Runtime Interface Emulators, or of containers that have one inside.

An emulator crashes when two invocations overlap (lambda.md 1.11), so an address has at most one at
a time, and it stays busy until the emulator has answered, whatever became of the caller. Of the
free ones the least recently failed is taken. One that cannot be reached, or breaks off, is out of
use until it can be connected to again. A lease of this pool is the right to an address, which holds
it until it is free. What was never sent goes to another address; what may have started does not.
"""

import asyncio
import math
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Self

import orjson

from gateway.core import function_errors
from gateway.core.concurrency import Lease
from gateway.core.errors import (
    ServiceFailed,
    ServiceInterrupted,
    ServiceTimedOut,
    ServiceUnreachable,
    Throttled,
)
from gateway.core.interfaces import Clock, Sink
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.invoke_api import invoke_headers
from gateway.core.notices import OperatorWarning
from gateway.invokers.remote import Origin, posted, seconds_left
from gateway.runtime.leases import STOPPING_REASON, LeaseLimits, LeaseQueue
from gateway.wire.client import Reply, Unreachable

INVOCATION_PATH = b"/2015-03-31/functions/function/invocations"

TIMED_OUT = re.compile(rb"Task timed out after ([0-9]{1,6})\.[0-9]{2} seconds")
"""The emulator's whole answer for a timeout; AWS's is JSON (lambda.md 1.11)."""

LONGEST_SECONDS = 960.0
"""How long an address may be busy: Lambda's longest timeout is 900 s, and init comes before it."""

PROBE_SECONDS = 1.0
"""How often an address that is out of use is connected to, and how long that may take."""

OUT_OF_USE = (ServiceUnreachable, ServiceInterrupted, ServiceTimedOut)
"""Failures after which it is not known that an emulator is there and free."""

HINTS = {
    400: ": it runs something else already; an emulator takes one invocation at a time, and here "
    "nothing but this gateway may use it",
    404: ": there is no Runtime Interface Emulator at this address",
}


@dataclass(frozen=True, slots=True)
class Emulator:
    """One address of a pool."""

    host: str
    port: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class RieSettings:
    """How long invocations may take."""

    timeout_seconds: float = 300.0
    """The function's timeout, which AWS_LAMBDA_FUNCTION_TIMEOUT tells the emulator: 300 is its
    default."""
    queue_timeout_seconds: float = 0.0
    """How long an invocation waits for an address; 0 throttles at once."""


@dataclass(slots=True, eq=False)
class EmulatorState:
    """What the pool knows of an address."""

    number: int
    emulator: Emulator
    failed_at: float = -math.inf
    """In seconds of the event loop's clock."""
    is_out_of_use: bool = False
    is_probed: bool = False
    lease: Lease | None = None
    """Held until the address is free."""

    def __str__(self) -> str:
        return f"the emulator at {self.emulator.host}:{self.emulator.port}"


class RiePool:
    """An Invoker over emulators that run elsewhere; an async context manager."""

    def __init__(
        self, emulators: Sequence[Emulator], settings: RieSettings, *, clock: Clock, sink: Sink
    ) -> None:
        """Take the addresses, in the order in which they are preferred."""
        self._states = [EmulatorState(number, each) for number, each in enumerate(emulators)]
        self._idle = [*self._states]
        self._settings = settings
        self._clock = clock
        self._sink = sink
        limits = LeaseLimits(len(emulators), settings.queue_timeout_seconds)
        reason = (
            f"all {len(emulators)} emulators are busy; give another --rie, or let invocations wait "
            "with --queue-timeout"
        )
        self._leases = LeaseQueue(limits, sink, reason)
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PROBE_SECONDS, self._sweep)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Break off what runs; later invocations are throttled."""
        self._leases.end()
        self._timer.cancel()
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Run on a free emulator; raises Throttled when none is free in time, ServiceUnreachable
        when none can be reached, and otherwise ServiceFailed."""
        seconds = seconds_left(invocation, self._settings.timeout_seconds, self._clock)
        deadline = math.inf
        for _ in self._states:
            state = await self._taken()
            deadline = min(deadline, self._loop.time() + seconds)
            try:
                return await self._run(state, invocation, seconds, deadline)
            except ServiceUnreachable:  # it is out of use now; nothing was sent
                if self._loop.time() >= deadline:
                    raise
        raise self._none_left()

    async def _taken(self) -> EmulatorState:
        """Return a free address; raises Throttled or ServiceUnreachable."""
        if all(state.is_out_of_use for state in self._states):
            raise self._none_left()
        lease = self._leases.take() or await self._waited()
        state = min(self._idle, key=lambda state: (state.failed_at, state.number))
        self._idle.remove(state)
        state.lease = lease
        return state

    async def _waited(self) -> Lease:
        """Wait for a lease; raises Throttled, or ServiceUnreachable when no address is in use."""
        try:
            return await self._leases.wait()
        except Throttled:
            if all(state.is_out_of_use for state in self._states):
                raise self._none_left() from None
            raise

    def _none_left(self) -> ServiceUnreachable:
        return ServiceUnreachable(f"none of {len(self._states)} emulators can be reached")

    async def _run(
        self, state: EmulatorState, invocation: Invocation, seconds: float, deadline: float
    ) -> InvocationResult:
        """Answer in time, though an exchange that has begun goes on until the emulator has
        answered."""
        answer: asyncio.Future[InvocationResult] = self._loop.create_future()
        task = self._start(self._exchange(state, invocation, answer, deadline))
        # A task that is cancelled before its first step does not even see it.
        task.add_done_callback(lambda _: settle(answer, ServiceInterrupted(STOPPING_REASON)))
        try:
            async with asyncio.timeout_at(deadline):
                return await answer
        except TimeoutError:
            payload = function_errors.timed_out(invocation.request_id, seconds)
            return InvocationResult(payload, function_error="Unhandled")

    def _start(self, step: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(step)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _exchange(
        self,
        state: EmulatorState,
        invocation: Invocation,
        answer: asyncio.Future[InvocationResult],
        start_by: float,
    ) -> None:
        """Send the event and hand over what came of it; then the address is free, or out of
        use."""
        try:
            reply = await self._posted(state, invocation, start_by)
            settle(answer, result_of(reply, invocation, str(state)))
        except ServiceFailed as failure:
            self._fail(state, failure)
            settle(answer, failure)
        except Exception as error:  # noqa: BLE001 - the caller gets it; the pool goes on
            settle(answer, error)
        finally:
            if not state.is_out_of_use:
                self._free(state)

    async def _posted(self, state: EmulatorState, invocation: Invocation, start_by: float) -> Reply:
        headers = [(b"Content-Type", b"application/json"), *invoke_headers(invocation)]
        deadline = self._loop.time() + LONGEST_SECONDS
        origin = state.emulator.origin
        payload = invocation.payload
        return await posted(
            origin, INVOCATION_PATH, headers, payload, deadline=deadline, start_by=start_by
        )

    def _free(self, state: EmulatorState) -> None:
        self._idle.append(state)
        if state.lease is not None:
            state.lease.release()

    def _fail(self, state: EmulatorState, failure: ServiceFailed) -> None:
        """Remember a failure; an address without a connection is out of use, and keeps its
        lease."""
        state.failed_at = self._loop.time()
        if isinstance(failure, OUT_OF_USE):
            state.is_out_of_use = True
            self._sink.emit(OperatorWarning(f"{state} is out of use: {failure}"))

    def _sweep(self) -> None:
        """Look once a second after what is out of use."""
        self._timer = self._loop.call_later(PROBE_SECONDS, self._sweep)
        for state in self._states:
            if state.is_out_of_use and not state.is_probed:
                state.is_probed = True
                self._start(self._probe(state))

    async def _probe(self, state: EmulatorState) -> None:
        """Connect, no more: an emulator takes that for nothing."""
        try:
            await state.emulator.origin.reach(deadline=self._loop.time() + PROBE_SECONDS)
            state.is_out_of_use = False
            self._sink.emit(OperatorWarning(f"{state} is in use again"))
            self._free(state)
        except Unreachable:  # or not in time
            pass
        finally:
            state.is_probed = False


def settle(answer: asyncio.Future[InvocationResult], outcome: InvocationResult | Exception) -> None:
    """Set the outcome, unless there is one or the caller has left."""
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def result_of(reply: Reply, invocation: Invocation, name: str) -> InvocationResult:
    """Return what an emulator's reply would be from AWS (lambda.md 1.11); raises ServiceFailed for
    a reply that is not a function's."""
    if reply.status not in {200, 502}:
        raise ServiceFailed(f"{name} answered {reply.status}{HINTS.get(reply.status, '')}")
    late = TIMED_OUT.fullmatch(reply.body)
    if late is not None:
        payload = function_errors.timed_out(invocation.request_id, float(late[1]))
    elif reply.status == 200 and not is_function_error(reply.body):
        return InvocationResult(reply.body)
    else:
        payload = reply.body or function_errors.exited(invocation.request_id, None)
    return InvocationResult(payload, function_error="Unhandled")


def is_function_error(body: bytes) -> bool:
    """Say whether a payload is an error's, though the emulator has no header for that: an object
    with a type of error, and no status that a load balancer could use."""
    if b'"errorType"' not in body:
        return False
    try:
        fields = orjson.loads(body)
    except ValueError:
        return False
    is_object = isinstance(fields, dict)
    return is_object and isinstance(fields.get("errorType"), str) and "statusCode" not in fields

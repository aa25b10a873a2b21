"""Runs a handler inside this process: the fastest way, and the least faithful one.

Several invocations share one interpreter, which AWS never does. Blocking handlers run on daemon
worker threads: a SimpleQueue there, `call_soon_threadsafe` back. The event loop owns all
bookkeeping; a worker only claims a job, runs it and hands the result over. A run that outlives
the function's timeout is answered at the deadline; its thread cannot be stopped, so it is
abandoned and replaced, up to a limit.
"""

import asyncio
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Self

from gateway.core import function_errors
from gateway.core.errors import Throttled
from gateway.core.interfaces import Clock
from gateway.core.invocation import LATEST, Invocation, InvocationResult
from gateway.invokers.capture import CURRENT, Output
from gateway.invokers.code import Handler
from gateway.runtime.child.bootstrap import InitError, error_log_lines, error_payload, invoke
from gateway.runtime.child.lambda_context import FunctionSettings, LambdaContext
from gateway.telemetry.system import turns_of_the_loop

ABANDONED_LIMIT = 32
"""Threads that may be stuck in a handler before further requests are refused."""

WAITING_LIMIT = 1000
"""Invocations that may wait for a worker; more are throttled at once."""

LARGE_BYTES = 64 * 1024
"""A worker that has made a larger result waits until the event loop takes it."""

SMALLEST_WAIT_SECONDS = 0.0005

TRACE_ID_KEY = b"_X_AMZN_TRACE_ID"

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InProcessSettings:
    """How an in-process function runs."""

    handler: str
    timeout_seconds: float = 3.0
    threads: int = 16
    """Worker threads, and so invocations at once; 0 runs handlers on the event loop itself."""


class PendingInvocation:
    """One invocation on its way to a worker; the first to take the claim, worker or timer,
    decides."""

    __slots__ = ("claim", "future", "invocation", "output", "started", "timer")

    timer: asyncio.TimerHandle

    def __init__(self, invocation: Invocation, loop: asyncio.AbstractEventLoop) -> None:
        self.invocation = invocation
        self.future: asyncio.Future[InvocationResult] = loop.create_future()
        self.claim = threading.Lock()
        self.output = Output(invocation.request_id)
        self.started = 0.0


class InProcess:
    """An Invoker around one handler in this interpreter; an async context manager that owns its
    threads."""

    def __init__(
        self,
        settings: InProcessSettings,
        handler: Handler | InitError,
        *,
        function: FunctionSettings,
        clock: Clock,
        reload: Callable[[], Handler | InitError] | None = None,
    ) -> None:
        """Take the handler, and what imports it once more when its import has failed."""
        self._settings = settings
        self.handler = handler
        self._reload = reload
        self._reloading = threading.Lock()
        self._function = function
        self._clock = clock
        self._queue: SimpleQueue[PendingInvocation | None] = SimpleQueue()
        self._is_over = False
        self._in_flight = 0
        self._abandoned: set[PendingInvocation] = set()

    def replace(self, handler: Handler | InitError) -> None:
        """Use other code from the next invocation on; what runs keeps the old objects."""
        self.handler = handler

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for _ in range(self._settings.threads):
            self._start_worker()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._is_over = True
        self._queue.put(None)

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Run the handler; raises Throttled when no worker is free in time."""
        if not self._settings.threads:
            return await self._run_in_turn(invocation)
        self._check_room()
        job = PendingInvocation(invocation, self._loop)
        self._in_flight += 1
        job.timer = self._loop.call_later(self._settings.timeout_seconds, self._expire, job)
        self._queue.put(job)
        return await job.future

    async def _run_in_turn(self, invocation: Invocation) -> InvocationResult:
        """Run the handler on the event loop, in a turn of its own.

        So all requests that are there become events, then all handlers run, then all replies become
        responses, and the code of each stage stays in the processor's caches: at 32 connections
        40 us of CPU per request and not 56 (benchmarks/data_path.py, front-inline).
        """
        await turns_of_the_loop(1)
        result = self.run(invocation)
        await turns_of_the_loop(1)
        return result

    def run(self, invocation: Invocation, output: Output | None = None) -> InvocationResult:
        """Run the handler on the calling thread and return its result."""
        output = output or Output(invocation.request_id)
        set_trace_id(invocation.trace_id)
        token = CURRENT.set(output)
        started = self._clock.monotonic()
        try:
            payload, function_error = self._outcome(invocation, output)
        except BaseException:  # the handler's own objects can raise while they are reported on
            LOGGER.exception("the gateway failed")
            payload = function_errors.exited(invocation.request_id, None)
            function_error = "Unhandled"
        finally:
            CURRENT.reset(token)
        elapsed = self._clock.monotonic() - started
        billed_ms = math.ceil(elapsed * 1000)
        return InvocationResult(payload, LATEST, function_error, output.text(), billed_ms)

    def _outcome(self, invocation: Invocation, output: Output) -> tuple[bytes, str]:
        """Return payload and function error; an init that failed is repeated inside the invocation,
        and answers it if it fails again (lambda.md 1.10)."""
        handler = self.handler
        if isinstance(handler, InitError):
            handler = self._loaded_again(handler)
        if isinstance(handler, InitError):
            trace = handler.stack_trace
            output.write(error_log_lines(handler.message, handler.error_type, trace) + "\n")
            fault = error_payload(handler.message, handler.error_type, handler.stack_trace, "")
            return fault, "Unhandled"
        deadline_ms = invocation.deadline_ms or self._deadline_ms()
        arn = invocation.function.arn
        context = LambdaContext(self._function, invocation.request_id, deadline_ms, arn)
        outcome = invoke(handler, invocation.payload, context, self._function)
        if outcome.log:
            output.write(outcome.log + "\n")
        return outcome.payload, outcome.function_error

    def _loaded_again(self, failed: InitError) -> Handler | InitError:
        """Import the handler once more, on one thread at a time, unless that has been done since or
        cannot help."""
        with self._reloading:
            if (
                self.handler is failed
                and self._reload
                and failed.error_type not in function_errors.LASTING
            ):
                self.handler = self._reload()
            return self.handler

    def _deadline_ms(self) -> int:
        return int((self._clock.now() + self._settings.timeout_seconds) * 1000)

    def _check_room(self) -> None:
        handler = self._settings.handler
        if len(self._abandoned) >= ABANDONED_LIMIT:
            raise Throttled(
                f"{len(self._abandoned)} threads are stuck in {handler}, past its timeout of "
                f"{self._settings.timeout_seconds:g} s; fix the handler and restart the gateway"
            )
        if self._in_flight >= self._settings.threads + WAITING_LIMIT:
            raise Throttled(f"{WAITING_LIMIT} invocations are waiting for {handler} already")

    def _start_worker(self) -> None:
        threading.Thread(target=self._work, name="handler", daemon=True).start()

    def _work(self) -> None:
        """Take jobs until told to stop."""
        with main_thread_loop():
            self._take_jobs()
        if self._is_over:
            self._queue.put(None)  # for the next worker, an abandoned one whenever it comes back

    def _take_jobs(self) -> None:
        while (job := self._queue.get()) is not None:
            self._run_job(job)
            del job  # or an idle worker keeps its last result

    def _run_job(self, job: PendingInvocation) -> None:
        """Run a job, unless its time is over, and hand its result over."""
        job.started = self._clock.monotonic()
        if job.claim.acquire(blocking=False):
            result = self.run(job.invocation, job.output)
            with suppress(RuntimeError):  # the loop is gone, and with it the caller
                if len(result.payload) > LARGE_BYTES:
                    self._hand_over_large(job, result)
                else:
                    self._loop.call_soon_threadsafe(self._finish, job, result)

    def _hand_over_large(self, job: PendingInvocation, result: InvocationResult) -> None:
        """Wait until the event loop has taken the result: while it is busy, each worker has made
        one large result at most."""
        taken = threading.Event()

        def finish() -> None:
            taken.set()
            self._finish(job, result)

        self._loop.call_soon_threadsafe(finish)
        taken.wait(self._settings.timeout_seconds)

    def _finish(self, job: PendingInvocation, result: InvocationResult) -> None:
        """Hand a result over, on the event loop; the caller may have left."""
        job.timer.cancel()
        if job in self._abandoned:  # it came back after all: one worker too many
            self._abandoned.discard(job)
            self._queue.put(None)
            return
        self._in_flight -= 1
        if not job.future.done():
            job.future.set_result(result)

    def _expire(self, job: PendingInvocation) -> None:
        """Give up a job that waited too long for a worker, or ran too long on one."""
        if job.claim.acquire(blocking=False):
            self._in_flight -= 1
            if not job.future.done():
                job.future.set_exception(self._no_free_worker())
            return
        left = job.started + self._settings.timeout_seconds - self._clock.monotonic()
        if left > SMALLEST_WAIT_SECONDS:
            job.timer = self._loop.call_later(left, self._expire, job)
        else:
            self._abandon(job)

    def _no_free_worker(self) -> Throttled:
        settings = self._settings
        return Throttled(
            f"all {settings.threads} threads were busy in {settings.handler} for "
            f"{settings.timeout_seconds:g} s; raise --concurrency"
        )

    def _abandon(self, job: PendingInvocation) -> None:
        """Answer for a handler that is past its deadline and put a fresh worker in its place."""
        if not job.future.done():
            job.future.set_result(self._timed_out(job))
        self._start_worker()
        self._in_flight -= 1
        self._abandoned.add(job)

    def _timed_out(self, job: PendingInvocation) -> InvocationResult:
        seconds = self._settings.timeout_seconds
        return InvocationResult(
            function_errors.timed_out(job.invocation.request_id, seconds),
            function_error="Unhandled",
            log=job.output.text(),
            billed_ms=math.ceil(seconds * 1000),
        )


@contextmanager
def main_thread_loop() -> Iterator[None]:
    """Give this thread an event loop of its own, as Lambda's main thread would make one.

    Adapters such as Mangum ask for it with `asyncio.get_event_loop()`, which makes none elsewhere.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def set_trace_id(trace_id: str) -> None:
    """Set the variable that X-Ray reads, or take it away; of concurrent runs the last one wins.

    Only this interpreter sees it: `putenv` keeps every value it was ever given (glibc, setenv.c),
    which costs 40 microseconds and some memory with each fresh trace id. A NUL would make every
    copy of the environment unfit for a child process.
    """
    variables = os.environ._data  # type: ignore[attr-defined]  # noqa: SLF001
    if trace_id and "\0" not in trace_id:
        variables[TRACE_ID_KEY] = trace_id.encode(errors="replace")
    else:
        variables.pop(TRACE_ID_KEY, None)

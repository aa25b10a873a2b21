"""Invocations that are held up where a test wants them, and time that only the test moves."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from gateway.core.errors import Throttled
from gateway.core.interfaces import Clock
from gateway.core.invocation import FunctionRef, Invocation, InvocationResult
from gateway.invokers.code import Handler
from gateway.invokers.in_process import InProcess, InProcessSettings
from gateway.runtime.child.bootstrap import InitError
from gateway.runtime.child.lambda_context import FunctionSettings
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeClock

PATIENCE_SECONDS = 5.0
"""How long a test waits for what must happen before it fails."""

TIMEOUT_SECONDS = 3.0

REQUEST_ID = "8dfd2e43-6b43-4a3c-9d0e-2f6f1b3c7a10"
ARN = "arn:aws:lambda:eu-west-1:111122223333:function:shop"
FUNCTION = FunctionSettings(function_name="shop", memory_limit_in_mb="128")


def invocation(event: Any = None, **fields: Any) -> Invocation:
    payload = json.dumps(event).encode()
    return Invocation(REQUEST_ID, FunctionRef("shop", "", ARN), payload, **fields)


def in_process(
    handler: Handler | InitError,
    *,
    threads: int = 1,
    timeout_seconds: float = TIMEOUT_SECONDS,
    clock: Clock | None = None,
) -> InProcess:
    settings = InProcessSettings("app.handler", timeout_seconds, threads)
    return InProcess(settings, handler, function=FUNCTION, clock=clock or SystemClock())


def echo(event: Any, context: Any) -> Any:
    return event


class Gate:
    """A handler that says when it has begun, waits to be let through and answers its event."""

    def __init__(self) -> None:
        self.calls = 0
        self._begun = threading.Semaphore(0)
        self._passes = threading.Semaphore(0)

    def __call__(self, event: Any, context: Any) -> Any:
        self.calls += 1
        self._begun.release()
        assert self._passes.acquire(timeout=PATIENCE_SECONDS)
        return event

    async def wait_begun(self, times: int = 1) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._begun.acquire, timeout=PATIENCE_SECONDS)

    def wait_begun_here(self) -> None:
        """Wait and hold up the event loop."""
        assert self._begun.acquire(timeout=PATIENCE_SECONDS)

    def let_one_pass(self) -> None:
        self._passes.release()

    def open(self) -> None:
        self._passes.release(10_000)


@dataclass
class Timer:
    """What a test's time will call."""

    when: float
    call: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Time(FakeClock):
    """A clock and a loop's timers, which only a test moves."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__(0.0)
        self._timers: list[Timer] = []

    def call_later(self, seconds: float, callback: Callable[..., None], *given: Any) -> Timer:
        timer = Timer(self.monotonic() + seconds, partial(callback, *given))
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        due = [timer for timer in self._timers if timer.when <= self.monotonic()]
        for timer in sorted(due, key=lambda timer: timer.when):
            self._timers.remove(timer)
            if not timer.is_cancelled:
                timer.call()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


@asynccontextmanager
async def timed(handler: Handler, *, threads: int = 1) -> AsyncIterator[tuple[InProcess, Time]]:
    """An invoker and the time that its deadlines go by."""
    time = Time()
    async with in_process(handler, threads=threads, clock=time) as invoker:
        time.loop = invoker._loop
        invoker._loop = cast("asyncio.AbstractEventLoop", time)
        yield invoker, time


async def timed_out(
    invoker: InProcess, time: Time, gate: Gate, times: int = 1
) -> list[InvocationResult]:
    """Let invocations get stuck at the gate until their time is over."""
    async with asyncio.TaskGroup() as tasks:
        stuck = [tasks.create_task(invoker.invoke(invocation("stuck"))) for _ in range(times)]
        await gate.wait_begun(times)
        time.advance(TIMEOUT_SECONDS)
    return [task.result() for task in stuck]


class Workers:
    """The worker threads that started since this was made."""

    def __init__(self) -> None:
        self._others = set(threading.enumerate())

    def alive(self) -> set[threading.Thread]:
        return {
            thread
            for thread in threading.enumerate()
            if thread.name == "handler" and thread not in self._others
        }

    def join(self) -> None:
        for thread in self.alive():
            thread.join(PATIENCE_SECONDS)

    async def wait_one_ends(self, tasks: asyncio.TaskGroup) -> None:
        """Wait for whichever ends first; the tasks last until all have ended."""
        joining = [asyncio.to_thread(thread.join, PATIENCE_SECONDS) for thread in self.alive()]
        endings = [tasks.create_task(join) for join in joining]
        await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)


def stuck_or(handler: Handler, gate: Gate) -> Handler:
    """Return a handler that is held up by the gate for the event "stuck" alone."""
    return lambda event, context: (gate if event == "stuck" else handler)(event, context)


def error(result: InvocationResult) -> dict[str, Any]:
    assert result.function_error == "Unhandled"
    found: dict[str, Any] = json.loads(result.payload)
    return found


async def outcome(invoker: InProcess, event: str) -> bytes | Throttled:
    """Return what an invocation comes to, the refusal as a value."""
    try:
        result = await invoker.invoke(invocation(event))
    except Throttled as refusal:
        return refusal
    return result.payload

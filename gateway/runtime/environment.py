"""One execution environment: performs what core/environment.py decides.

It owns the Runtime API's port, the process, the pipes that the process writes to and one timer.
Everything happens on the event loop; the one task is the start of a process.
"""

import asyncio
import base64
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from gateway.core import environment as life
from gateway.core import function_errors
from gateway.core.environment import Effect, ExecutionEnvironment, Input, Limit, Refused
from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.core.http import Headers, header
from gateway.core.invocation import Invocation, InvocationResult, LogType
from gateway.core.notices import (
    InitReported,
    InitStarted,
    InvocationReported,
    LogEntry,
    Notice,
    OperatorWarning,
)
from gateway.core.report import billed_ms, log_tail
from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.api_guard import Guard
from gateway.runtime.api_routes import Answer, Event, Poll, Posted
from gateway.runtime.blueprint import Blueprint
from gateway.runtime.event import event_of
from gateway.runtime.launch import LaunchFailed, Outlets, Plan, Process
from gateway.runtime.outlet import Outlet
from gateway.runtime.pool import InitFailed
from gateway.runtime.process import Members, open_namespaces

SMALLEST_WAIT_SECONDS = 0.0005
PACKAGES = 200
"""Of how many packages a function's operator is told in all: a function may make names up."""


STREAMING = ("", "streaming")
"""What a runtime may say of its response mode."""


@dataclass(slots=True)
class Run:
    """The invocation at hand."""

    invocation: Invocation
    future: asyncio.Future[InvocationResult]
    started: float
    """Seconds of the monotonic clock."""
    started_at: float
    """Epoch seconds."""
    invocation_id: str
    event: Event | None = None
    completed: life.Complete | None = None
    result: InvocationResult | None = None
    init_ms: float | None = None
    entries: list[LogEntry] = field(default_factory=list)

    def answer(self) -> None:
        """Give the caller its result, unless it has left."""
        if self.result is not None and not self.future.done():
            self.future.set_result(self.result)


class Environment:
    """Runs one invocation at a time in a process of its own; made by the pool."""

    def __init__(self, blueprint: Blueprint, on_free: Callable[["Environment"], None]) -> None:
        self._blueprint = blueprint
        self._on_free = on_free
        self._life = ExecutionEnvironment(blueprint.timeout_seconds)
        self._loop = asyncio.get_running_loop()
        self._api = RuntimeApiServer(self, Guard(blueprint.abilities.sight, self._members))
        self._outlet = Outlet(self._loop, blueprint.clock)
        self._stream = blueprint.stream()
        self._plan: Plan | None = None
        self._holding = blueprint.holding(self._stream)
        self._namespaces: tuple[int, ...] = ()
        self._process: Process | None = None
        self._launch_task: asyncio.Task[None] | None = None
        self._generation = 0
        """Counts starts and ends, so that a process that comes too late is seen as that."""
        self._waiting: Poll | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._timer_at = math.inf
        self._run: Run | None = None
        self._warming: asyncio.Future[None] | None = None
        self._init_started = 0.0
        self._init_ms: float | None = None
        self._why = ""
        """Why the last process could not be started."""
        self._is_closed = False

    # What the pool asks for.

    def invoke(self, invocation: Invocation, /) -> asyncio.Future[InvocationResult]:
        """Run an invocation; the future has its result as soon as the runtime has answered, with
        `LogType.TAIL` as soon as the invocation is over (lambda.md 9.1)."""
        clock = self._blueprint.clock
        future: asyncio.Future[InvocationResult] = self._loop.create_future()
        invocation_id = self._blueprint.draw(32)
        self._run = Run(invocation, future, clock.monotonic(), clock.now(), invocation_id)
        self._receive(life.Assigned(invocation.request_id))
        return future

    async def init(self) -> None:
        """Start ahead of time; raises InitFailed."""
        self._warming = self._loop.create_future()
        self._receive(life.Warmed())
        await self._warming

    async def close(self) -> None:
        """Kill and reap every process and give back what the environment has; once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._stop_timer()
        if self._timer is not None:
            self._timer.cancel()
        with suppress(Refused):
            self._receive(life.Closed())
        if self._warming is not None and not self._warming.done():
            self._warming.set_exception(InitFailed("closed"))
        if self._launch_task is not None:
            await asyncio.wait([self._launch_task])
        if self._process is not None:
            self._process.kill()
            await self._process.exited
            await self._holding.emptied()
        self._api.close()
        self._outlet.close()
        await self._holding.close()
        await self._api.emptied()
        for descriptor in self._namespaces:
            os.close(descriptor)

    # What the Runtime API tells (a Platform); Refused goes back to the runtime.

    def polled(self, poll: Poll, /) -> None:
        """Take note that the runtime waits."""
        self._waiting = poll
        self._receive(life.Polled())

    def check(self, answer: Answer, headers: Headers, /) -> None:
        """Refuse an answer that would be refused whatever its body holds; change nothing."""
        self._life.check(answer.kind, answer.request_id)
        if answer.request_id:
            self._check_echo(header(headers, b"lambda-runtime-invocation-id"))

    def responded(self, request_id: str, posted: Posted, /) -> None:
        """Take a response."""
        if posted.header(b"lambda-runtime-function-response-mode") not in STREAMING:
            kind = "Runtime.InvalidResponseModeHeader"
            self._receive(life.Errored(request_id, b"", kind, resets=True))
            # AWS's answer; the reset has just ended the runtime and its connection.
            raise Refused(400, "InvalidFunctionResponseMode", "Invalid function response mode")
        if posted.is_too_large:
            kind = "Function.ResponseSizeTooLarge"
            self._receive(life.Errored(request_id, function_errors.TOO_LARGE, kind))
            text = f"Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            raise Refused(413, "RequestEntityTooLarge", text)
        kind = posted.trailer(b"lambda-runtime-function-error-type")
        if kind:
            payload = decoded(posted.trailer(b"lambda-runtime-function-error-body"))
            self._receive(life.Errored(request_id, payload, function_errors.normalised(kind)))
        else:
            self._receive(life.Responded(request_id, posted.body))

    def errored(self, request_id: str, posted: Posted, /) -> None:
        """Take the error of an invocation."""
        kind = posted.header(b"lambda-runtime-function-error-type")
        payload = function_errors.TOO_LARGE if posted.is_too_large else posted.body
        self._receive(life.Errored(request_id, payload, function_errors.normalised(kind)))

    def init_errored(self, posted: Posted, /) -> None:
        """Take an error of the init phase."""
        kind = posted.header(b"lambda-runtime-function-error-type")
        self._receive(life.InitErrored(posted.body, function_errors.normalised(kind)))

    def truncated(self, request_id: str, /) -> None:
        """Answer for a response whose end never came."""
        kind = "Runtime.TruncatedResponse"
        with suppress(Refused):
            payload = function_errors.truncated(request_id)
            self._receive(life.Errored(request_id, payload, kind, resets=True))

    def imported(self, names: list[str], /) -> None:
        """Tell the operator once of each package that has to be brought along to AWS."""
        told = self._blueprint.told_packages
        new = [name for name in names if name not in told][: PACKAGES - len(told)]
        told.update(new)
        if new and (self._run is not None or self._blueprint.tells_init):
            text = f"on AWS these must be in the package or a layer: {', '.join(new)}"
            self._emit(OperatorWarning(text))

    def _check_echo(self, echo: bytes | None) -> None:
        if echo and (self._run is None or echo.decode("latin-1") != self._run.invocation_id):
            raise Refused(400, "InvalidInvocationId", "Invalid invocation ID")

    def _members(self) -> Members:
        """Return the processes that may speak to the Runtime API."""
        process = self._process
        is_alive = process is not None and not process.exited.done()
        return self._holding.members(process.pid if process is not None and is_alive else 0)

    # Effects.

    def _receive(self, item: Input) -> None:
        for effect in self._life.receive(item):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case life.Deliver():
                self._deliver(is_new=effect.is_new)
            case life.Complete():
                self._complete(effect)
            case life.Free():
                self._free(effect.failure)
            case life.Start():
                self._start(effect.limit)
            case life.InitDone():
                self._init_done(effect)
            case life.Kill():
                self._kill()

    def _start(self, limit: Limit) -> None:
        blueprint = self._blueprint
        seconds = blueprint.init_seconds if limit is Limit.INIT else blueprint.timeout_seconds
        self._init_started = blueprint.clock.monotonic()
        self._restart_timer(seconds)
        self._holding.begin_use()
        phase: Literal["init", "invoke"] = "init" if limit is Limit.INIT else "invoke"
        self._emit(InitStarted(self._stream, blueprint.clock.now(), phase))
        self._generation += 1
        launching = self._launch(self._generation, self._launch_task)
        self._launch_task = self._loop.create_task(launching)

    async def _launch(self, generation: int, before: asyncio.Task[None] | None) -> None:
        """Start a process once the one before is gone."""
        if before is not None:
            await asyncio.wait([before])
        if self._process is not None:
            await self._process.exited
            await self._holding.emptied()
            await self._api.emptied()  # or its last poll would be taken for the next one's
        if generation != self._generation:
            return
        try:
            process = self._process = await self._launched()
        except (LaunchFailed, OSError) as error:
            if generation == self._generation:
                self._why = str(error)
                self._receive(life.NotStarted(self._why))
            return
        if generation != self._generation:  # killed before it was there
            process.kill()
            return
        process.exited.add_done_callback(lambda _: self._exited(generation, process))
        self._holding.watch(process.pid, process.kill)

    async def _launched(self) -> Process:
        if self._plan is None:
            await self._api.start()
            self._holding.make()
            self._plan = self._blueprint.plan(
                self._stream, self._api.address, self._outlet.log, self._holding
            )
        outlets = Outlets(self._outlet.output, self._outlet.log, self._namespaces)
        process = await self._blueprint.launcher.start(self._plan, outlets)
        if self._plan.room is not None and not self._namespaces:
            self._namespaces = open_namespaces(process.pid)
        return process

    def _exited(self, generation: int, process: Process) -> None:
        if generation == self._generation:
            self._receive(life.Exited(process.exited.result()))

    def _kill(self) -> None:
        self._stop_timer()
        self._generation += 1
        self._waiting = None
        self._holding.rest()
        if self._process is not None:
            self._process.kill()
        self._api.disconnect()

    def _deliver(self, *, is_new: bool) -> None:
        run, poll = self._run, self._waiting
        if run is None or poll is None:
            return
        if is_new:
            clock = self._blueprint.clock
            run.started, run.started_at = clock.monotonic(), clock.now()
            self._restart_timer(self._blueprint.timeout_seconds)
            self._holding.begin_use()
        if run.event is None:
            timeout_ms = self._blueprint.timeout_seconds * 1000
            deadline_ms = int(run.started_at * 1000 + timeout_ms)
            run.event = event_of(run.invocation, run.invocation_id, deadline_ms)
        self._waiting = None
        poll.deliver(run.event)

    def _complete(self, effect: life.Complete) -> None:
        run = self._run
        if run is None:
            return
        run.completed = effect
        run.init_ms, self._init_ms = self._init_ms, None
        run.entries = self._outlet.collect()
        run.result = InvocationResult(
            effect.payload,
            self._stream.version,
            "" if effect.status == "success" else "Unhandled",
            text_of(run.entries),
            billed_ms(self._duration_ms(run, effect), run.init_ms),
            math.ceil(run.init_ms or 0),
        )
        if run.invocation.log_type is not LogType.TAIL:
            run.answer()

    def _duration_ms(self, run: Run, completed: life.Complete) -> float:
        """Return for how long an invocation has run; of a timeout AWS reports the limit itself."""
        elapsed_ms = (self._blueprint.clock.monotonic() - run.started) * 1000
        if completed.status == "timeout":
            return min(elapsed_ms, self._blueprint.timeout_seconds * 1000)
        return elapsed_ms

    def _free(self, failure: str) -> None:
        self._stop_timer()
        self._holding.end_use()
        run, self._run = self._run, None
        if run is not None and run.completed is not None:
            self._end(run, run.completed, failure)
        warming, self._warming = self._warming, None
        if warming is not None and not warming.done():
            warming.set_result(None)
        elif warming is None and not self._is_closed:
            self._on_free(self)

    def _end(self, run: Run, completed: life.Complete, failure: str) -> None:
        """Tell sink and caller about an invocation that is over, as far as they want to know."""
        entries = run.entries + self._outlet.collect()
        wants_tail = run.invocation.log_type is LogType.TAIL
        if self._blueprint.sink is None and not wants_tail:
            return
        notice = self._report(run, completed, failure, entries)
        self._emit(notice)
        if wants_tail and run.result is not None:
            run.result.log_tail = log_tail(notice, self._blueprint.logging)
            run.answer()

    def _report(
        self, run: Run, completed: life.Complete, failure: str, entries: list[LogEntry]
    ) -> InvocationReported:
        clock = self._blueprint.clock
        duration_ms = self._duration_ms(run, completed)
        status = "error" if failure and completed.status == "success" else completed.status
        return InvocationReported(
            self._stream,
            run.invocation.request_id,
            run.started_at,
            clock.now(),
            entries,
            duration_ms,
            billed_ms(duration_ms, run.init_ms),
            self._holding.peak_mb(clock.monotonic()),
            run.init_ms,
            status,  # type: ignore[arg-type]
            completed.error_type or failure,
            run.invocation.trace_id,
            len(completed.payload),
        )

    def _init_done(self, effect: life.InitDone) -> None:
        clock = self._blueprint.clock
        elapsed_ms = (clock.monotonic() - self._init_started) * 1000
        if effect.phase == "init":
            self._init_ms = elapsed_ms
        entries = self._outlet.collect()
        warming = self._warming
        if effect.status != "success" and warming is not None and not warming.done():
            warming.set_exception(InitFailed(self._init_failure(effect, entries)))
        self._emit(
            InitReported(
                self._stream,
                clock.now(),
                effect.phase,  # type: ignore[arg-type]
                effect.status,  # type: ignore[arg-type]
                effect.error_type,
                elapsed_ms,
                entries,
            )
        )

    def _init_failure(self, effect: life.InitDone, entries: list[LogEntry]) -> str:
        """Say in a line why an init failed."""
        if effect.status == "timeout":
            return f"the init phase took more than {self._blueprint.init_seconds:g} s"
        told = function_errors.told_failure(entries)
        failure = told or f"{effect.error_type}: {self._why}".rstrip(": ")
        return self._blueprint.explain(failure)

    def _emit(self, notice: Notice) -> None:
        if self._blueprint.sink is not None:
            self._blueprint.sink.emit(notice)

    # Time.

    def _restart_timer(self, seconds: float) -> None:
        """Count a limit from now. A timer that is due earlier stays and is set anew when it is:
        most limits are never reached."""
        self._deadline = self._blueprint.clock.monotonic() + seconds
        if self._timer is None or self._deadline < self._timer_at:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_later(seconds, self._expire)

    def _stop_timer(self) -> None:
        self._deadline = math.inf

    def _expire(self) -> None:
        self._timer = None
        if self._deadline == math.inf:
            return
        left = self._deadline - self._blueprint.clock.monotonic()
        if left > SMALLEST_WAIT_SECONDS:
            self._set_timer(left)
            return
        with suppress(Refused):
            self._receive(life.DeadlinePassed())


def decoded(text: str) -> bytes:
    """Return what a trailer holds as base64; as it is when it is none."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return text.encode()


def text_of(entries: list[LogEntry]) -> str:
    """Return entries as the lines of a terminal."""
    return "".join([f"{entry.text}\n" for entry in entries]) if entries else ""

"""One execution environment: performs what core/environment.py decides.

It owns the processes, one after the other (process_sequence.py), the resources around them
(resources.py) and one timer. Everything happens on the event loop.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from gateway.core import environment as life
from gateway.core import function_errors
from gateway.core.environment import Effect, ExecutionEnvironment, Input, Limit, Refused, State
from gateway.core.http import Headers, header
from gateway.core.invocation import Invocation, InvocationResult, LogType
from gateway.core.notices import (
    InitReported,
    InitStarted,
    LogEntry,
    Notice,
    OperatorWarning,
)
from gateway.core.report import log_tail
from gateway.runtime.answers import (
    input_of_error,
    input_of_init_error,
    input_of_truncated,
    judged_response,
)
from gateway.runtime.api_routes import Answer, Poll, Posted
from gateway.runtime.blueprint import Blueprint
from gateway.runtime.limit_timer import LimitTimer
from gateway.runtime.process import Members
from gateway.runtime.process_sequence import ProcessSequence
from gateway.runtime.resources import Resources
from gateway.runtime.run import Run
from gateway.runtime.slots import InitFailed, Readiness, Undelivered

PACKAGES = 200
"""Of how many packages a function's operator is told in all: a function may make names up."""


class ProcessEnvironment:
    """Runs one invocation at a time in a process of its own; made by the pool."""

    def __init__(
        self, blueprint: Blueprint, on_change: Callable[["ProcessEnvironment"], None]
    ) -> None:
        self._blueprint = blueprint
        self._on_change = on_change
        self._life = ExecutionEnvironment(blueprint.timeout_seconds)
        self._loop = asyncio.get_running_loop()
        self._stream = blueprint.stream()
        self._resources = Resources(blueprint, self._stream, self, self._members)
        self._timer = LimitTimer(self._loop, blueprint.clock, self._expire)
        self._processes = ProcessSequence(self._resources, self._not_started, self._exited)
        self._waiting: Poll | None = None
        self._run: Run | None = None
        self._warming: asyncio.Future[None] | None = None
        self._init_started = 0.0
        self._init_ms: float | None = None
        self._why = ""
        """Why the last process could not be started."""
        self._is_closed = False

    # What the pool asks for.

    @property
    def readiness(self) -> Readiness:
        """Say what an invocation would find."""
        if self._life.state is State.IDLE:
            return Readiness.LOST if self._waiting is None else Readiness.READY
        return Readiness.COLD if self._life.state is State.COLD else Readiness.SPENT

    def invoke(self, invocation: Invocation, /) -> asyncio.Future[InvocationResult]:
        """Run an invocation; the future has its result as soon as the runtime has answered, with
        `LogType.TAIL` as soon as the invocation is over (lambda.md 9.1)."""
        blueprint = self._blueprint
        clock = blueprint.clock
        future: asyncio.Future[InvocationResult] = self._loop.create_future()
        self._run = Run(
            invocation,
            future,
            clock.monotonic(),
            clock.now(),
            blueprint.draw(32),
            blueprint.timeout_seconds,
        )
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
        self._timer.close()
        with suppress(Refused):
            self._receive(life.Closed())
        self._end_warming(InitFailed("closed"))
        await self._processes.ended()
        await self._resources.close()

    # What the Runtime API tells (a Platform); Refused goes back to the runtime.

    def polled(self, poll: Poll, /) -> None:
        """Record that the runtime waits."""
        before, self._waiting = self._waiting, poll
        was_idle = self._life.state is State.IDLE
        try:
            self._receive(life.Polled())
        except Refused:
            self._waiting = before
            raise
        if was_idle and before is None:  # it had lost its connection
            self._on_change(self)

    def check(self, answer: Answer, headers: Headers, /) -> None:
        """Refuse an answer that would be refused whatever its body holds; change nothing."""
        self._life.check(answer.kind, answer.request_id)
        if answer.request_id:
            self._check_echo(header(headers, b"lambda-runtime-invocation-id"))

    def responded(self, request_id: str, posted: Posted, /) -> None:
        """Take a response."""
        judged = judged_response(request_id, posted)
        self._receive(judged.item)
        if judged.refusal is not None:
            raise judged.refusal

    def errored(self, request_id: str, posted: Posted, /) -> None:
        """Take the error of an invocation."""
        self._receive(input_of_error(request_id, posted))

    def init_errored(self, posted: Posted, /) -> None:
        """Take an error of the init phase."""
        self._receive(input_of_init_error(posted))

    def truncated(self, request_id: str, /) -> None:
        """Answer for a response whose end never came."""
        with suppress(Refused):
            self._receive(input_of_truncated(request_id))

    def imported(self, names: list[str], /) -> None:
        """Tell the operator once of each package that has to be brought along to AWS."""
        told = self._blueprint.told_packages
        new = [name for name in names if name not in told][: PACKAGES - len(told)]
        told.update(new)
        if new and (self._run is not None or self._blueprint.tells_init):
            text = f"on AWS these must be in the package or a layer: {', '.join(new)}"
            self._emit(OperatorWarning(text))

    def disconnected(self, poll: Poll, /) -> None:
        """Record that the runtime may not wait any more: it has ended, or polls again."""
        if poll is not self._waiting:
            return
        self._waiting = None
        if self._life.state is State.IDLE and not self._is_closed:
            self._on_change(self)

    def _check_echo(self, echo: bytes | None) -> None:
        if echo and (self._run is None or echo.decode("latin-1") != self._run.invocation_id):
            raise Refused(400, "InvalidInvocationId", "Invalid invocation ID")

    def _members(self) -> Members:
        """Return the processes that may speak to the Runtime API."""
        return self._resources.limits.members(self._processes.pid)

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
            case _:
                self._change(effect)

    def _change(self, effect: Effect) -> None:
        """Perform what is not for every invocation."""
        match effect:
            case life.Start():
                self._start(effect.limit)
            case life.InitDone():
                self._init_done(effect)
            case life.Kill():
                self._kill()
            case life.GiveBack():
                self._give_back(effect)
            case life.Retire():
                self._on_change(self)

    def _start(self, limit: Limit) -> None:
        blueprint = self._blueprint
        seconds = blueprint.init_seconds if limit is Limit.INIT else blueprint.timeout_seconds
        self._init_started = blueprint.clock.monotonic()
        self._timer.restart(seconds)
        self._resources.limits.begin_use()
        phase: Literal["init", "invoke"] = "init" if limit is Limit.INIT else "invoke"
        self._emit(InitStarted(self._stream, blueprint.clock.now(), phase))
        self._processes.start()

    def _not_started(self, why: str) -> None:
        self._why = why
        self._receive(life.NotStarted(why))

    def _exited(self, status: int) -> None:
        has_left_event = self._run is not None and self._run.has_left_event()
        self._receive(life.Exited(status, has_left_event))

    def _kill(self) -> None:
        self._timer.stop()
        self._waiting = None
        self._processes.kill()
        self._resources.api.disconnect()

    def _deliver(self, *, is_new: bool) -> None:
        run, poll = self._run, self._waiting
        if run is None:
            return
        if is_new:
            clock = self._blueprint.clock
            run.started, run.started_at = clock.monotonic(), clock.now()
            self._timer.restart(self._blueprint.timeout_seconds)
            self._resources.limits.begin_use()
        if poll is not None:  # else the runtime, if it lives, is about to poll again
            self._waiting = None
            run.deliver(poll)

    def _complete(self, effect: life.Complete) -> None:
        run = self._run
        if run is None:
            return
        run.init_ms, self._init_ms = self._init_ms, None
        now = self._blueprint.clock.monotonic()
        run.complete(effect, self._resources.collect(), self._stream.version, now)
        if run.invocation.log_type is not LogType.TAIL:
            run.answer()

    def _give_back(self, effect: life.GiveBack) -> None:
        """Have the pool take another environment; without a caller the invocation is over."""
        run, self._run = self._run, None
        if run is not None and not run.future.done():
            result = InvocationResult(effect.payload, self._stream.version, "Unhandled")
            run.future.set_exception(Undelivered(result))
        else:
            self._on_change(self)

    def _free(self, failure: str) -> None:
        self._timer.stop()
        self._resources.limits.end_use()
        run, self._run = self._run, None
        if run is None:
            self._end_warming()
            return
        if run.completed is not None:
            self._end(run, run.completed, failure)
        if not self._is_closed:
            self._on_change(self)

    def _end(self, run: Run, completed: life.Complete, failure: str) -> None:
        """Tell sink and caller about an invocation that is over, as far as they want to know."""
        entries = run.entries + self._resources.collect()
        wants_tail = run.invocation.log_type is LogType.TAIL
        blueprint = self._blueprint
        if blueprint.sink is None and not wants_tail:
            return
        now = blueprint.clock.monotonic()
        peak_mb = self._resources.limits.peak_mb(now)
        duration_ms = run.duration_ms(completed, now)
        at = blueprint.clock.now()
        notice = run.report(completed, failure, entries, self._stream, duration_ms, peak_mb, at)
        self._emit(notice)
        if wants_tail and run.result is not None:
            run.result.log_tail = log_tail(notice, blueprint.logging)
            run.answer()

    def _init_done(self, effect: life.InitDone) -> None:
        clock = self._blueprint.clock
        elapsed_ms = (clock.monotonic() - self._init_started) * 1000
        if effect.phase == "init":
            self._init_ms = elapsed_ms
        entries = self._resources.collect()
        if effect.status == "success":
            self._end_warming()
        else:
            failure = self._init_failure(effect, entries)
            self._end_warming(InitFailed(failure, effect.error_type))
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

    def _end_warming(self, failure: InitFailed | None = None) -> None:
        """Say how a start ahead of time has ended, if that is still asked."""
        warming, self._warming = self._warming, None
        if warming is None or warming.done():
            return
        if failure is None:
            warming.set_result(None)
        else:
            warming.set_exception(failure)

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

    def _expire(self) -> None:
        with suppress(Refused):
            self._receive(life.DeadlinePassed())

"""A pool over environments that a test answers for, on a loop whose time only the test moves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self

from anyio.lowlevel import checkpoint

from gateway.core.errors import Throttled
from gateway.core.invocation import FunctionRef, Invocation, InvocationResult
from gateway.core.notices import OperatorWarning
from gateway.runtime.leases import LeaseLimits, LeaseQueue, VersionLeases
from gateway.runtime.pool import Pool, PoolSettings
from gateway.runtime.slots import Environment, InitFailed, Readiness, Undelivered
from gateway.testing import FakeSink
from tests.runtime.fake_time import LoopClock, pending_timers, settle

WAITS = ("queue_timeout_seconds", "waiting_limit")
"""The settings that are the leases'."""

BUSY = "all are busy"

FUNCTION = FunctionRef("shop", "", "arn:aws:lambda:eu-west-1:111122223333:function:shop")


class Broken(Exception):
    """What an environment raises that is of no more use."""


class FakeEnvironment:
    """An environment whose every step a test decides; it refuses what a real one could not do."""

    def __init__(self, on_change: Callable[[Environment], None], *, is_slow: bool = False) -> None:
        self._on_change = on_change
        self.readiness = Readiness.COLD
        self.requests: list[str] = []
        self.is_busy = False
        self.closed = 0
        self.close_fails = False
        self.started = asyncio.Event()
        """An init waits for it."""
        if not is_slow:
            self.started.set()
        self.inits = 0
        self.init_failure: Exception | None = None
        self.refusal: Exception | None = None
        self.answer: asyncio.Future[InvocationResult] | None = None

    def invoke(self, invocation: Invocation, /) -> asyncio.Future[InvocationResult]:
        assert not self.is_busy, "two invocations at a time"
        assert not self.closed, "invoked after its end"
        if self.refusal:
            raise self.refusal
        self.is_busy = True
        self.requests.append(invocation.request_id)
        self.answer = asyncio.get_running_loop().create_future()
        return self.answer

    async def init(self) -> None:
        assert self.readiness is Readiness.COLD, "started twice"
        assert not self.is_busy, "started in an invocation"
        self.inits += 1
        await self.started.wait()
        if self.init_failure:
            raise self.init_failure
        self.readiness = Readiness.READY

    async def close(self) -> None:
        self.closed += 1
        await checkpoint()
        if self.close_fails:
            raise OSError("busy")

    def respond(self) -> None:
        """Answer; the environment is not free yet."""
        if self.answer and not self.answer.done():
            self.answer.set_result(InvocationResult(self.requests[-1].encode()))

    def fail(self) -> None:
        """Raise out of the invocation that is under way, without becoming free."""
        if self.answer and not self.answer.done():
            self.answer.set_exception(Broken())

    def free(self, readiness: Readiness = Readiness.READY) -> None:
        self.is_busy = False
        self.change(readiness)

    def change(self, readiness: Readiness) -> None:
        """Say that an idle environment is something else now."""
        self.readiness = readiness
        self._on_change(self)

    def give_back(self) -> None:
        """End before the event was received."""
        self.readiness, self.is_busy = Readiness.SPENT, False
        if self.answer and not self.answer.done():
            self.answer.set_exception(Undelivered(InvocationResult(b"gone")))
        else:
            self.free(Readiness.SPENT)

    def finish(self, readiness: Readiness = Readiness.READY) -> None:
        self.respond()
        self.free(readiness)


class Rig:
    """A pool, the environments it made, and what it said."""

    def __init__(self, **settings: Any) -> None:
        self.sink = FakeSink()
        self.made: list[FakeEnvironment] = []
        self.make_failure: Exception | None = None
        self.is_slow = False
        self.is_started_ahead = bool(settings.get("min_environments"))
        self.failure: InitFailed | None = None
        self.pool, self.leases = self.leased(**settings)
        self.tasks: list[asyncio.Task[Any]] = []

    def leased(self, concurrency: int = 50, **settings: Any) -> tuple[Pool, VersionLeases]:
        """Return a pool, and as many leases as it has environments."""
        waits = {name: settings.pop(name) for name in WAITS if name in settings}
        queue = LeaseQueue(LeaseLimits(concurrency, **waits), self.sink, BUSY)
        leases = VersionLeases({FUNCTION.name: queue})
        limits = PoolSettings(concurrency, **settings)
        parts = {"clock": LoopClock(), "sink": self.sink, "leases": leases}
        return Pool(self.make, limits, version=FUNCTION.name, **parts), leases

    def make(self, on_change: Callable[[Environment], None]) -> FakeEnvironment:
        if self.make_failure:
            raise self.make_failure
        environment = FakeEnvironment(on_change, is_slow=self.is_slow)
        self.made.append(environment)
        return environment

    async def __aenter__(self) -> Self:
        self.others = asyncio.all_tasks()
        await self.pool.__aenter__()
        if self.is_started_ahead:
            try:
                self.failure = await self.pool.start()
            except BaseException:
                await self.pool.__aexit__()
                raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.leases.end()
        await self.pool.__aexit__()
        for task in self.tasks:
            task.cancel()
        await settle()
        assert [environment.closed for environment in self.made] == [1] * len(self.made)
        assert asyncio.all_tasks() <= self.others
        assert pending_timers() == []

    def spawn(self, step: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(step)
        self.tasks.append(task)
        return task

    def call(self) -> asyncio.Task[InvocationResult]:
        """Invoke in a task of its own; the request id is its number."""
        invocation = Invocation(str(len(self.tasks)), FUNCTION, b"{}")
        return self.spawn(self.invoke_with_lease(invocation))

    async def invoke_with_lease(self, invocation: Invocation) -> InvocationResult:
        with self.leases.take(FUNCTION.name) or await self.leases.wait(FUNCTION.name):
            return await self.pool.invoke(invocation)

    async def calls(self, count: int) -> list[asyncio.Task[InvocationResult]]:
        tasks = [self.call() for _ in range(count)]
        await settle()
        return tasks

    @property
    def warnings(self) -> list[str]:
        return [n.text for n in self.sink.notices if isinstance(n, OperatorWarning)]

    @property
    def alive(self) -> list[FakeEnvironment]:
        return [environment for environment in self.made if not environment.closed]


def is_throttled(task: asyncio.Task[InvocationResult]) -> bool:
    return task.done() and isinstance(task.exception(), Throttled)


class FailingInit(Rig):
    """A rig whose first environment fails in init."""

    def __init__(self, failure: Exception, **settings: Any) -> None:
        super().__init__(**settings)
        self._failure = failure

    def make(self, on_change: Callable[[Environment], None]) -> FakeEnvironment:
        environment = super().make(on_change)
        if len(self.made) == 1:
            environment.init_failure = self._failure
        return environment

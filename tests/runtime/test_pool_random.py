"""Random scripts against the pool: what must hold whatever happens in which order."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.invocation import InvocationResult
from gateway.runtime.slots import Environment, InitFailed, Readiness
from tests.runtime.fake_time import FakeTimeLoop, advance, settle
from tests.runtime.pool_rig import Broken, FakeEnvironment, Rig, is_throttled


class Player(Rig):
    """Does what a random script says, one step at a time, and looks at what must always hold."""

    MOST = 3
    MINIMUM = 1

    def __init__(self, chance: random.Random) -> None:
        super().__init__(
            concurrency=self.MOST,
            min_environments=self.MINIMUM,
            queue_timeout_seconds=chance.choice([0.0, 3.0]),
            idle_seconds=2.0,
        )
        self.chance = chance
        self.callers: list[asyncio.Task[InvocationResult]] = []
        self.replacing: list[asyncio.Task[None]] = []

    def make(self, on_change: Callable[[Environment], None]) -> FakeEnvironment:
        if self.chance.random() < 0.1:
            raise Broken
        environment = super().make(on_change)
        environment.refusal = Broken() if self.chance.random() < 0.1 else None
        environment.init_failure = InitFailed("") if self.chance.random() < 0.3 else None
        return environment

    async def play(self, script: list[str]) -> None:
        with suppress(Broken):
            async with self:
                for step in script:
                    await getattr(self, step)()
                    self.check()
                await self.finish_all()
                if self.chance.random() < 0.5:  # else the end comes with some of it under way
                    await self.check_all_is_there()
        for number, task in self.numbered_callers():
            self.check_outcome(str(number), task)

    def numbered_callers(self) -> list[tuple[int, asyncio.Task[InvocationResult]]]:
        return [(self.tasks.index(task), task) for task in self.callers]

    def any_busy(self) -> FakeEnvironment | None:
        busy = [environment for environment in self.alive if environment.is_busy]
        return self.chance.choice(busy) if busy else None

    async def invoke(self) -> None:
        self.callers.append(self.call())

    async def respond(self) -> None:
        if environment := self.any_busy():
            environment.respond()

    async def free(self) -> None:
        if environment := self.any_busy():
            environment.finish()

    async def fail(self) -> None:
        environment = self.any_busy()
        if environment and environment.answer and not environment.answer.done():
            environment.fail()
            if self.chance.random() < 0.5:
                environment.free()

    async def crash(self) -> None:
        if environment := self.any_busy():
            environment.finish(self.chance.choice([Readiness.COLD, Readiness.SPENT]))

    async def give_back(self) -> None:
        environment = self.any_busy()
        if environment and environment.answer and not environment.answer.done():
            environment.give_back()
            if self.chance.random() < 0.3:
                self.chance.choice(self.callers).cancel()

    async def change(self) -> None:
        """Have an idle environment die, or its runtime stop to ask or begin again."""
        kinds = [Readiness.READY, Readiness.LOST]
        idle = [it for it in self.alive if not it.is_busy and it.readiness in kinds]
        if idle:
            kind = self.chance.choice([*kinds, Readiness.SPENT])
            self.chance.choice(idle).change(kind)

    async def leave(self) -> None:
        """Have a caller leave; an environment never loses its invocation by that."""
        if self.callers:
            self.chance.choice(self.callers).cancel()

    async def settle(self) -> None:
        await settle()

    async def wait(self) -> None:
        await advance(self.chance.choice([0.5, 1.0, 3.0]))

    async def replace(self) -> None:
        self.is_slow = self.chance.random() < 0.7
        self.replacing.append(self.spawn(self.pool.replace(self.make)))
        self.is_slow = False

    async def start(self) -> None:
        """Let inits end."""
        for environment in self.made:
            environment.started.set()

    def check(self) -> None:
        slots = self.pool._slots
        preparing = sum(not task.done() for task in self.replacing)
        assert sum(slot.invocation is not None for slot in slots) <= self.MOST
        assert len(slots) <= self.MOST + (preparing + 1) * self.MINIMUM
        assert {id(slot.environment) for slot in slots} <= {id(alive) for alive in self.alive}
        assert all(environment.closed <= 1 for environment in self.made)

    async def finish_all(self) -> None:
        """Answer until no caller waits: none is forgotten."""
        for _ in range(len(self.tasks) + 2):
            await self.start()
            await settle()
            for environment in self.alive:
                if environment.is_busy:
                    environment.finish()
        await settle()
        assert all(task.done() for task in self.tasks)

    async def check_all_is_there(self) -> None:
        """Have as many run at once as ever: no lease was lost, none was won."""
        self.chance = random.Random(0)
        self.chance.random = lambda: 0.99  # type: ignore[method-assign]
        for environment in self.alive:
            environment.refusal = None
        tasks = await self.calls(self.MOST + 1)
        assert sum(environment.is_busy for environment in self.alive) == self.MOST
        assert [task.done() and is_throttled(task) for task in tasks[:-1]] == [False] * self.MOST

    def check_outcome(self, request_id: str, task: asyncio.Task[InvocationResult]) -> None:
        runs = [request for environment in self.made for request in environment.requests]
        assert runs.count(request_id) <= 3
        assert task.done()
        if task.cancelled():
            return
        if is_throttled(task):
            assert runs.count(request_id) == 0
        elif not task.exception():
            assert task.result().payload.decode() in {request_id, "gone"}


STEPS = ["invoke"] * 6 + ["free"] * 3 + ["settle"] * 3
STEPS += ["respond", "fail", "leave", "wait", "replace", "start"]
STEPS += ["crash", "give_back", "change"]


@given(st.lists(st.sampled_from(STEPS), max_size=60), st.integers(0, 2**32))
def test_whatever_happens_no_caller_is_lost_served_twice_or_left_over(
    script: list[str], seed: int
) -> None:
    async def play() -> None:
        await Player(random.Random(seed)).play(script)

    with asyncio.Runner(loop_factory=FakeTimeLoop) as runner:
        runner.run(play())

"""What a pool knows of its environments: the contract they keep, and where those are that rest."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from gateway.core.concurrency import Lease
from gateway.core.function_errors import LASTING
from gateway.core.invocation import Invocation, InvocationResult

LIFETIME_SECONDS = 4 * 3600.0
"""AWS ends environments every few hours (lambda.md 1.10); ours end when next idle after this,
unless `min_environments` would not be left."""


class InitFailed(Exception):
    """The function's code could not be loaded; the text says why."""

    def __init__(self, text: str, error_type: str = "") -> None:
        super().__init__(text)
        self.is_lasting = error_type in LASTING
        """Whether another attempt cannot succeed."""


class Undelivered(Exception):
    """No process has received the event of an invocation, and none will in this environment."""

    def __init__(self, result: InvocationResult) -> None:
        super().__init__("the environment ended before it received the event")
        self.result = result
        """What the caller gets when no other environment is tried."""


class Readiness(Enum):
    """What an invocation would find in an environment."""

    READY = auto()
    """A runtime that waits for an event."""
    COLD = auto()
    """No process: init belongs to the invocation."""
    LOST = auto()
    """A runtime that has stopped to ask for events: it has ended, or asks again soon."""
    SPENT = auto()
    """Nothing any more: the environment is to be closed."""


class Environment(Protocol):
    """Runs one invocation at a time and calls what it was made with when its readiness may have
    changed: once after each invocation, whatever became of it, and at any time while it is idle."""

    @property
    def readiness(self) -> Readiness:
        """Say what an invocation would find now, while none runs."""
        ...

    def invoke(self, invocation: Invocation, /) -> asyncio.Future[InvocationResult]:
        """Run an invocation, after init where that is still to be done; the run goes on even if
        the caller stops waiting. An exception says that the environment is of no more use, in
        place of the call."""
        ...

    async def init(self) -> None:
        """Start ahead of time, without a call, and return when the runtime waits or has been given
        an invocation that came meanwhile; raises InitFailed, after which `invoke` tries again
        (lambda.md 1.10)."""
        ...

    async def close(self) -> None:
        """End all that was started, whatever it is doing; called once."""
        ...


Make = Callable[[Callable[[Environment], None]], Environment]
"""Makes an environment that will call what is given; takes no time, starts nothing."""


@dataclass(slots=True, eq=False)
class Slot:
    """What the pool knows of an environment."""

    generation: int
    made_at: float
    idle_since: float
    environment: Environment = field(init=False)
    invocation: Invocation | None = None
    """What it runs; None while it is prepared, idle or closed."""
    lease: Lease | None = None
    """Held for a run that goes on after its call."""
    warm_at: float | None = None
    """When its start ahead of time ended well; None once it has served."""

    def end_lease(self) -> None:
        """Give back the lease of a run that went on after its call."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.release()

    def is_due(self, now: float, idle_seconds: float) -> bool:
        """Say whether it has been idle for too long, or is too old."""
        return now - self.idle_since >= idle_seconds or now - self.made_at >= LIFETIME_SECONDS


class Resting:
    """The environments of the current generation that run no invocation."""

    def __init__(self) -> None:
        self.ready: list[Slot] = []
        """The least recently used first, as in the others."""
        self.warming: list[Slot] = []
        """Those that are being started ahead of time."""
        self.cold: list[Slot] = []
        """Those that have lost their process: the next invocation begins with init."""
        self.lost: list[Slot] = []
        """Those whose runtime has stopped to ask for events: it has ended, or asks again soon."""

    def __iter__(self) -> Iterator[Slot]:
        return iter([*self.ready, *self.warming, *self.cold, *self.lost])

    def add(self, slot: Slot, readiness: Readiness) -> None:
        """Take an environment that is not being started."""
        places = {Readiness.READY: self.ready, Readiness.COLD: self.cold}
        places.get(readiness, self.lost).append(slot)

    def pop(self) -> Slot | None:
        """Take out the one that the next invocation gets; None when it needs a new one."""
        for slots in (self.ready, self.warming, self.cold):
            if slots:
                return slots.pop()
        return None

    def pop_cold(self) -> Slot | None:
        """Take out one that can be started again."""
        return self.cold.pop() if self.cold else None

    def remove(self, slot: Slot) -> bool:
        """Take out a given one; say whether it was there."""
        for slots in (self.ready, self.warming, self.cold, self.lost):
            if slot in slots:
                slots.remove(slot)
                return True
        return False

    def useless(self) -> int:
        """Return how many do not count for the minimum."""
        return len(self.cold) + len(self.lost)

"""A pool over servers that answer as emulators do."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from gateway.core.invocation import InvocationResult
from gateway.invokers.rie import Emulator, RiePool, RieSettings
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeSink
from tests.invokers.gate import invocation
from tests.wire.origin import (
    HOST,
    Origin,
    Scripted,
    serving,
    spoken_to,
)


class World:
    """A pool over servers of the test's own."""

    def __init__(self, origins: list[Origin], emulators: list[Emulator], **settings: Any) -> None:
        self.origins = origins
        self.sink = FakeSink()
        self.pool = RiePool(emulators, RieSettings(**settings), clock=SystemClock(), sink=self.sink)

    async def call(self, event: Any = None) -> InvocationResult:
        return await self.pool.invoke(invocation(event))

    def counts(self) -> list[int]:
        """Return how many requests each server has answered."""
        return [len(origin.requests) for origin in self.origins]

    def said(self) -> list[str]:
        return [str(notice) for notice in self.sink.notices]


@asynccontextmanager
async def world(*scripts: Scripted, **settings: Any) -> AsyncIterator[World]:
    """Run a pool over a server for each script."""
    async with AsyncExitStack() as stack:
        origins, emulators = [], []
        for script in scripts:
            origin = await stack.enter_async_context(serving(script))
            peer = await stack.enter_async_context(spoken_to(origin))
            origins.append(origin)
            emulators.append(Emulator(HOST, origin.port, peer))
        found = World(origins, emulators, **settings)
        await stack.enter_async_context(found.pool)
        yield found

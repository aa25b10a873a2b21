"""What one execution environment has beside its process: a port, two pipes, limits, namespaces.

They are opened with the first process and outlive it. A start that fails leaves what it has opened
to the next start, so that a hundred failed ones hold no more than one.
"""

import asyncio
import os
from collections.abc import Callable

from gateway.core.notices import LogEntry, LogStream
from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.api_guard import Guard
from gateway.runtime.api_routes import Platform
from gateway.runtime.blueprint import Blueprint
from gateway.runtime.launch import LaunchedProcess, Outlets, Plan
from gateway.runtime.outlet import Outlet
from gateway.runtime.process import Members, open_namespaces


class Resources:
    """Owns everything that an environment must give back; `close` frames its life."""

    def __init__(
        self,
        blueprint: Blueprint,
        stream: LogStream,
        platform: Platform,
        members: Callable[[], Members],
    ) -> None:
        """`members` returns the processes that may speak to the Runtime API."""
        self._blueprint = blueprint
        self._stream = stream
        self.api = RuntimeApiServer(platform, Guard(blueprint.abilities.sight, members))
        self.limits = blueprint.limits(stream)
        self._outlet: Outlet | None = None
        self._plan: Plan | None = None
        self._namespaces: tuple[int, ...] = ()

    async def start(self) -> LaunchedProcess:
        """Start a process; raises LaunchFailed and OSError."""
        if self._outlet is None:
            self._outlet = Outlet(asyncio.get_running_loop(), self._blueprint.clock)
        plan = self._plan or await self._planned(self._outlet)
        outlets = Outlets(self._outlet.output, self._outlet.log, self._namespaces)
        process = await self._blueprint.launcher.start(plan, outlets)
        if plan.room is not None and not self._namespaces:
            self._namespaces = open_namespaces(process.pid)
        return process

    async def _planned(self, outlet: Outlet) -> Plan:
        if not self.api.address:
            await self.api.start()
        self.limits.make()
        self._plan = self._blueprint.plan(self._stream, self.api.address, outlet.log, self.limits)
        return self._plan

    def collect(self) -> list[LogEntry]:
        """Return what the processes have written since the last time."""
        return [] if self._outlet is None else self._outlet.collect()

    async def close(self) -> None:
        """Kill what is left of the processes and give everything back; the process is gone."""
        self.api.close()
        if self._outlet is not None:
            self._outlet.close()
        await self.limits.close()
        await self.api.emptied()
        for descriptor in self._namespaces:
            os.close(descriptor)

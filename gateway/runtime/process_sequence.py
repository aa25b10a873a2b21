"""The processes of one environment: at most one at a time, each after the end of the one before.

The one task of an environment is a process's, from its start to its end.
"""

import asyncio
from collections.abc import Callable

from gateway.runtime.launch import LaunchedProcess, LaunchFailed
from gateway.runtime.resources import Resources

CLOSE_SECONDS = 3.0
"""How long the start or the end of a process may take once the environment is closed: one that
hangs, as in a mount of a file server that is gone, must not keep the gateway from ending."""


class ProcessSequence:
    """Starts, watches and kills the process that an environment has now."""

    def __init__(
        self,
        resources: Resources,
        on_failed: Callable[[str], None],
        on_exited: Callable[[int], None],
    ) -> None:
        """`on_failed` gets the reason of a start that failed, `on_exited` the exit status of a
        process that was not killed."""
        self._resources = resources
        self._on_failed = on_failed
        self._on_exited = on_exited
        self._loop = asyncio.get_running_loop()
        self._process: LaunchedProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._generation = 0
        """Counts starts and ends, so that a process that comes too late is seen as that."""

    @property
    def pid(self) -> int:
        """The process id, 0 when no process is alive."""
        process = self._process
        return 0 if process is None or process.exited.done() else process.pid

    def start(self) -> None:
        """Begin to start a process."""
        self._generation += 1
        self._task = self._loop.create_task(self._live(self._generation, self._task))

    def kill(self) -> None:
        """Kill the process, or the one that is being started, and forget it."""
        self._generation += 1
        self._resources.limits.rest()
        if self._process is not None:
            self._process.kill()

    async def ended(self) -> None:
        """Wait for the end of the last process, for a limited time; it has been killed."""
        if self._task is not None:
            await ended(self._task, CLOSE_SECONDS)

    async def _live(self, generation: int, before: asyncio.Task[None] | None) -> None:
        """Start a process once the one before is gone, and see it to its end."""
        if before is not None:
            await ended(before)
        if generation != self._generation:
            return
        try:
            process = self._process = await self._resources.start()
        except (LaunchFailed, OSError) as error:
            if generation == self._generation:
                self._on_failed(str(error))
            return
        if generation == self._generation:
            self._resources.limits.watch(process.pid, process.kill)
        else:  # killed before it was there
            process.kill()
        await self._exited(generation, await asyncio.shield(process.exited))

    async def _exited(self, generation: int, status: int) -> None:
        """Report an end, what was sent before it first, and clear away what is left."""
        self._process = None
        resources = self._resources
        if generation == self._generation:
            await resources.api.read_to_end()
        if generation == self._generation:
            self._on_exited(status)
        await resources.limits.emptied()
        await resources.api.emptied()  # or its last poll would be taken for the next one's


async def ended(task: asyncio.Task[None], seconds: float | None = None) -> None:
    """Wait for the end of a task; it is cancelled when that takes longer, and with this."""
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
    await asyncio.wait([task])

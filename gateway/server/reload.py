"""SIGHUP in one process: code, layers, variables and certificates are read again, while sockets and
connections stay."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.compose.gateway import Gateway
from gateway.server.signals import terminals
from gateway.server.stage import Secured, Stage
from gateway.telemetry.writer import to_stderr


@asynccontextmanager
async def reloading(
    gateway: Gateway, secured: tuple[Secured | None, ...], stage: Stage
) -> AsyncIterator[None]:
    """Have each SIGHUP reload, until the block ends; the SIGHUP of a terminal that has gone stops
    the server, as it always has."""
    asked, at_start = asyncio.Event(), terminals()

    def hang_up() -> None:
        if terminals() == at_start:
            asked.set()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_reload_when_asked(asked, gateway, secured, stage))
        yield
        task.cancel()


async def _reload_when_asked(
    asked: asyncio.Event, gateway: Gateway, secured: tuple[Secured | None, ...], stage: Stage
) -> None:
    """Reload everything, one round after the other; what fails leaves the old in place."""
    while True:
        await asked.wait()
        asked.clear()
        stage.notifier.reloading()
        for one in filter(None, secured):
            # A problem is reported at once; the certificates before it stay in use.
            for problem in one.renew():
                stage.say(problem)
        failures = await gateway.reload(gateway.document)
        if stage.document.process.is_quiet:  # else the console has said it
            for failure in failures:
                to_stderr(f"gateway: not reloaded: {failure}")
        stage.notifier.ready("; ".join([stage.status(), *failures]))

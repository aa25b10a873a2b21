"""Serves the listeners' own fronts on their sockets until the process is told to stop."""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from gateway.server.signals import STOP_SIGNALS
from gateway.server.sockets import BACKLOG
from gateway.server.stage import Stage
from gateway.web.front import Front

REPLACED = 0
"""In the place of a signal: another worker has taken this one's slot."""


@dataclass(frozen=True, slots=True)
class ServedFront:
    """A front with its socket."""

    front: Front
    protocols: Callable[[], asyncio.BaseProtocol]
    """Makes the protocol of a new connection."""
    listening: socket.socket


async def serve_fronts(
    served: Sequence[ServedFront], stage: Stage, on_ready: Callable[[], None]
) -> None:
    """Accept until told to stop, then drain: without haste when another worker has replaced this
    one."""
    loop = asyncio.get_running_loop()
    stops: asyncio.Queue[int] = asyncio.Queue()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stops.put_nowait, number)
    if stage.slot is not None:
        stage.slot.on_replaced = partial(_tell, loop, stops)
    # Of a Unix socket, too: create_unix_server removes the file, which is its creator's to remove.
    accepting = [
        await loop.create_server(one.protocols, sock=one.listening, backlog=BACKLOG)
        for one in served
    ]
    fronts = [one.front for one in served]
    for front in fronts:
        front.start_sweep()
    on_ready()
    first = await stops.get()
    stage.notifier.stopping()
    for server in accepting:
        server.close()
    await _drain(first, stops, fronts)
    for front in fronts:
        front.stop()


async def _drain(first: int, stops: asyncio.Queue[int], fronts: Sequence[Front]) -> None:
    """Wait until all fronts have answered what they have begun."""
    async with asyncio.TaskGroup() as tasks:
        draining = {tasks.create_task(front.drain()) for front in fronts}
        hastening = tasks.create_task(_hasten(first, stops, fronts))
        await asyncio.wait(draining)
        hastening.cancel()


def _tell(loop: asyncio.AbstractEventLoop, stops: asyncio.Queue[int]) -> None:
    """Say that this worker has been replaced; called on another thread."""
    with suppress(RuntimeError):  # the loop is closed: it ends already
        loop.call_soon_threadsafe(stops.put_nowait, REPLACED)


async def _hasten(first: int, stops: asyncio.Queue[int], fronts: Sequence[Front]) -> None:
    """Close idle connections soon after the first signal, and end every connection at once on a
    further Ctrl-C."""
    while first == REPLACED:
        first = await stops.get()
    async with asyncio.TaskGroup() as tasks:
        for front in fronts:
            tasks.create_task(front.close_idle())
        while await stops.get() != signal.SIGINT:
            pass
        for front in fronts:
            front.abort()

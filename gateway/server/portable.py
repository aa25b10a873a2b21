"""Serves the portable front under uvicorn until the process is told to stop.

uvicorn raises a captured SIGTERM again when it is done; that would end a clean stop with status
143, so our handlers take that second delivery. The own front does without this file, which takes
15 ms to import.
"""

import asyncio
from collections.abc import Callable
from types import FrameType

import uvicorn

from gateway.server.signals import STOP_SIGNALS, on_stop
from gateway.server.sockets import BACKLOG
from gateway.server.stage import Stage
from gateway.telemetry.system import turns_of_the_loop

KEEP_ALIVE_SECONDS = 60
"""ALB's `idle_timeout.timeout_seconds` (alb.md 4.1)."""

SIGNAL_TURNS = 3
"""Turns of the event loop after which a signal that came before has been handed on."""


async def serve_portable(front: object, stage: Stage, on_ready: Callable[[], None]) -> None:
    """Have uvicorn serve, whose own handlers take the signals; one that came before counts."""
    web = uvicorn.Server(_uvicorn_config(front))
    loop, early = asyncio.get_running_loop(), list[int]()

    def stop(number: int, frame: FrameType | None) -> None:
        stage.notifier.stopping()
        web.handle_exit(number, frame)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, early.append, number)
    await turns_of_the_loop(SIGNAL_TURNS)
    for number in STOP_SIGNALS:
        loop.remove_signal_handler(number)
    on_stop(stop)
    for came in early:
        stop(came, None)
    on_ready()
    await web.serve(sockets=list(stage.sockets))


def _uvicorn_config(front: object) -> uvicorn.Config:
    return uvicorn.Config(
        front,  # type: ignore[arg-type]
        http="httptools",
        ws="none",
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="critical",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
    )

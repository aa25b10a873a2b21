"""The listening socket, the signals and the life of the server around the portable front.

uvicorn parses HTTP and calls the ASGI application. It raises a captured SIGTERM again when it is
done, which would end a clean stop with status 143; our own handlers stand behind its, so the
second delivery finds nobody who minds.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

import uvicorn
import uvloop

from gateway import compose
from gateway.config.settings import Serving
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 60
"""ALB's `idle_timeout.timeout_seconds` (alb.md 4.1)."""


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a bound, listening TCP socket; raises InvalidSetting when the address cannot be
    had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        advice = "; choose another --port, 0 for any free one" if port else ""
        raise InvalidSetting(f"cannot listen on {host}:{port}: {error}{advice}") from error
    listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(serving: Serving, sink: Sink, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; raises InvalidSetting when it cannot start."""
    with ExitStack() as stack:
        listening = stack.enter_context(listening_socket(serving.host, serving.port))
        stack.enter_context(compose.function_process(serving.function))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignore)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(serving, sink, listening, on_ready))


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Take the signal that uvicorn hands on after its own stop."""


async def _serve(
    serving: Serving, sink: Sink, listening: socket.socket, on_ready: Callable[[str], None]
) -> None:
    async with compose.running_function(serving, sink) as invoker:
        seen_as = compose.listener(serving, "http", listening.getsockname()[1])
        front = compose.portable_front(serving, seen_as, invoker, sink)
        on_ready(url_of(listening))
        await uvicorn.Server(_uvicorn_config(front)).serve(sockets=[listening])


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

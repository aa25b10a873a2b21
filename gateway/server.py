"""The listening socket, the signals and the life of the server around a front.

While the handler is imported signals end the process; from the moment that the listener is
announced they stop the server. The listener's own front is served by the event loop itself. The
portable front runs under uvicorn, which raises a captured SIGTERM again when it is done; that would
end a clean stop with status 143, so our handlers take that second delivery.
"""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, nullcontext
from types import FrameType

import uvicorn
import uvloop

from gateway import compose, memory
from gateway.config.settings import Serving
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.web.front import Front

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 60
"""ALB's `idle_timeout.timeout_seconds` (alb.md 4.1)."""

STOPPING = (signal.SIGINT, signal.SIGTERM)

ADVICE: dict[int | None, str] = {
    errno.EADDRINUSE: "choose another --port, 0 for any free one",
    errno.EACCES: "ports below 1024 are for root, choose another --port",
}


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a bound, listening TCP socket; raises InvalidSetting when the address cannot be
    had."""
    with ExitStack() as stack:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(BACKLOG)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
            raise InvalidSetting(f"cannot listen on {host}:{port}: {reason(error)}") from error
        stack.pop_all()  # it is the caller's now
    listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listening


def reason(error: OSError | UnicodeError) -> str:
    """Return why an address cannot be had, and what to do about it."""
    said = getattr(error, "strerror", None) or str(error)
    number = getattr(error, "errno", None)
    return f"{said}; {ADVICE.get(number, 'choose another --host')}"


def url_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(serving: Serving, sink: Sink | None, on_ready: Callable[[str, str], None]) -> None:
    """Serve until SIGINT or SIGTERM; raises InvalidSetting when it cannot start."""
    with ExitStack() as stack:
        listening = stack.enter_context(listening_socket(serving.host, serving.port))
        if serving.is_in_process:
            stack.enter_context(compose.function_process(serving.function))
        on_stopping(signal.SIG_DFL)
        memory.calm_collector()
        stack.enter_context(_unwrapped_settings())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(serving, sink, listening, on_ready))
        on_stopping(signal.SIG_DFL)  # a thread of the user's module may keep Python from ending


def on_stopping(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Have SIGINT and SIGTERM call a handler, or with SIG_DFL end the process at once: Python's own
    handler of SIGINT raises an exception, and an import may swallow that or be stuck in native
    code."""
    for number in STOPPING:
        signal.signal(number, handler)


@contextmanager
def _unwrapped_settings() -> Iterator[None]:
    """Raise an InvalidSetting as it is, not in the group that a TaskGroup makes of it."""
    try:
        yield
    except ExceptionGroup as group:
        invalid = group.subgroup(InvalidSetting)
        if invalid is None:
            raise
        raise invalid.exceptions[0] from group


async def _serve(
    serving: Serving,
    sink: Sink | None,
    listening: socket.socket,
    on_ready: Callable[[str, str], None],
) -> None:
    memory.give_back(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        with nullcontext() if serving.is_in_process else _start_that_can_be_ended():
            function = compose.invokable(serving, sink)
            invoker, isolation = await stack.enter_async_context(function)
        seen_as = compose.listener(serving, "http", listening.getsockname()[1])
        url = url_of(listening)
        if serving.server == "uvicorn":
            portable = compose.portable_front(serving, seen_as, invoker, sink)
            web = uvicorn.Server(_uvicorn_config(portable))
            on_stopping(web.handle_exit)
            on_ready(url, isolation)
            await web.serve(sockets=[listening])
        else:
            front = compose.listener_front(serving, seen_as, invoker, sink)
            await _serve_front(front, listening, lambda: on_ready(url, isolation))


@contextmanager
def _start_that_can_be_ended() -> Iterator[None]:
    """Have SIGINT and SIGTERM end the process once everything that was started is gone."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    signals: list[int] = []

    def cancel(number: int) -> None:
        signals.append(number)
        if task is not None:
            task.cancel()

    for number in STOPPING:
        loop.add_signal_handler(number, cancel, number)
    try:
        yield
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
        on_stopping(signal.SIG_DFL)
        if signals:
            os.kill(os.getpid(), signals[0])


async def _serve_front(
    front: Front, listening: socket.socket, on_ready: Callable[[], None]
) -> None:
    """Accept until told to stop, then drain: SIGTERM waits for idle connections too, Ctrl-C does
    not."""
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in STOPPING:
        loop.add_signal_handler(number, signals.put_nowait, number)
    accepting = await loop.create_server(front, sock=listening, backlog=BACKLOG)
    front.start_sweep()
    on_ready()
    first = await signals.get()
    accepting.close()
    async with asyncio.TaskGroup() as tasks:
        impatience = tasks.create_task(_abort_on_interrupt(signals, front))
        await front.drain(is_hasty=first == signal.SIGINT)
        impatience.cancel()
    front.stop()


async def _abort_on_interrupt(signals: asyncio.Queue[int], front: Front) -> None:
    """End every connection at once on a further Ctrl-C."""
    while await signals.get() != signal.SIGINT:
        pass
    front.abort()


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

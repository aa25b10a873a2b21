"""Imports the handler afresh after every save in the code directory.

The import runs on a thread, so requests go on meanwhile; the new handler takes over in one
assignment, and an import that fails takes over too: the next invocations answer with its error
until the next save.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path

from watchfiles import PythonFilter, awatch

from gateway.core.interfaces import Sink
from gateway.core.notices import FunctionReloaded, OperatorWarning
from gateway.invokers.code import Handler, HandlerCode
from gateway.invokers.in_process import InProcess
from gateway.runtime.child.bootstrap import InitError

WATCHED = PythonFilter(extra_extensions=(".json", ".yaml", ".yml", ".toml", ".html", ".txt"))


async def reload_on_change(code: HandlerCode, invoker: InProcess, sink: Sink) -> None:
    """Watch the code of a function in this process until cancelled."""

    async def reload() -> str:
        handler = await reloaded(code)
        invoker.replace(handler)
        return error_lines(handler)

    await on_change(code.directory, code.handler, reload, sink)


async def on_change(
    directory: Path, handler: str, reload: Callable[[], Awaitable[str]], sink: Sink
) -> None:
    """Reload after every save until cancelled; `reload` returns what went wrong, or nothing.

    A directory that cannot be watched is served without it.
    """
    saves = awatch(directory, watch_filter=WATCHED)
    try:
        async with aclosing(saves):
            async for _ in saves:
                sink.emit(FunctionReloaded(handler, await reload()))
    except (OSError, RuntimeError) as error:  # RuntimeError: watchfiles' own errors
        sink.emit(OperatorWarning(f"not reloading: {directory} cannot be watched: {error}"))


async def reloaded(code: HandlerCode) -> Handler | InitError:
    """Load afresh on a daemon thread: an import that never ends must not keep the process, as a
    thread of asyncio's own would."""
    future: Future[Handler | InitError] = Future()
    future.set_running_or_notify_cancel()

    def load() -> None:
        try:
            future.set_result(code.reload())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            future.set_exception(error)

    threading.Thread(target=load, name="reload", daemon=True).start()
    return await asyncio.wrap_future(future)


def error_lines(handler: object) -> str:
    """Return what went wrong with an import, empty when nothing did."""
    if not isinstance(handler, InitError):
        return ""
    trace = "".join(handler.stack_trace).rstrip()
    return f"{handler.error_type}: {handler.message}\n{trace}".rstrip()

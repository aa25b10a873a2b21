"""Reloads a function after every save of its files.

A save starts one reload; what is saved meanwhile starts one more. Code that cannot be loaded leaves
the code before it serving, in this process as in execution environments.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path

from watchfiles import Change, awatch

from gateway.core.interfaces import Sink
from gateway.core.notices import OperatorWarning
from gateway.invokers.code import Handler, HandlerCode
from gateway.invokers.watched import Outputs, WatchedPaths
from gateway.runtime.child.bootstrap import InitError

WATCH_TURNS = 3
"""Turns of the event loop after which a watch that is a task has begun."""


async def on_change(
    find: Callable[[], WatchedPaths],
    outputs: Outputs,
    reload: Callable[[], Awaitable[object]],
    sink: Sink,
) -> None:
    """Reload after every save until cancelled; new links are found after each.

    What cannot be watched is served without it.
    """
    places, changed = find(), asyncio.Event()
    try:
        while True:
            places = await _reload_while_same(places, find, outputs, reload, changed)
            changed.set()  # there was no watch for a moment
    except* (OSError, RuntimeError) as group:  # RuntimeError: watchfiles' own errors
        text = f"not reloading: the code cannot be watched: {group.exceptions[0]}"
        sink.emit(OperatorWarning(text))


async def _reload_while_same(
    places: WatchedPaths,
    find: Callable[[], WatchedPaths],
    outputs: Outputs,
    reload: Callable[[], Awaitable[object]],
    changed: asyncio.Event,
) -> WatchedPaths:
    """Reload as long as the same places are to be watched; returns the next ones."""
    parents = {path.parent for path in places.files}
    async with asyncio.TaskGroup() as tasks:
        watches = [
            tasks.create_task(_watch(paths, places, outputs, changed, recursive=recursive))
            for paths, recursive in ((places.directories, True), (parents, False))
            if paths
        ]
        found = places
        while found == places:
            await changed.wait()
            changed.clear()
            await reload()
            found = await asyncio.to_thread(find)
        for watch in watches:
            watch.cancel()
    return found


async def _watch(
    paths: "frozenset[Path] | set[Path]",
    places: WatchedPaths,
    outputs: Outputs,
    changed: asyncio.Event,
    *,
    recursive: bool,
) -> None:
    """Set the event after every save."""

    def is_save(_change: Change, path: str) -> bool:
        return places.is_relevant(path) and path not in outputs

    saves = awatch(*paths, watch_filter=is_save, recursive=recursive)
    async with aclosing(saves):
        async for _ in saves:
            changed.set()


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

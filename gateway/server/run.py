"""The life of the process around a gateway: sockets, the user that serves, and then either this
process or workers."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, nullcontext
from dataclasses import replace
from functools import partial

import uvloop

from gateway.compose.gateway import Gateway, gateway
from gateway.compose.in_process import function_process
from gateway.compose.listener import listener_front, portable_front
from gateway.config.document import Document, check
from gateway.config.function import Function
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.server import descriptors, memory, parent, presence, privileges, systemd
from gateway.server.listener import ServedFront, serve_fronts
from gateway.server.reload import reloading
from gateway.server.signals import (
    STOP_SIGNALS,
    StartEnded,
    end_start,
    on_stop,
    start_that_can_be_ended,
)
from gateway.server.sockets import opened, port_of
from gateway.server.stage import Secured, Stage, secured, urls
from gateway.telemetry.system import CLOCK
from gateway.web.h1_connection import Http1Connection

OnReady = Callable[[list[str], str], None]
"""Says that everything serves: given are the URLs, and how isolated the functions are."""


def run(document: Document, sink: Sink | None, on_ready: OnReady) -> None:
    """Serve until SIGINT or SIGTERM, with workers if there are to be some.

    Raises InvalidSetting when it cannot start, and SystemExit with the status of a worker that
    cannot.
    """
    check(document)
    if shared_function(document) is None or document.process.workers > 1:
        for number in (*STOP_SIGNALS, signal.SIGHUP):
            signal.signal(number, end_start)
    try:
        with ExitStack() as stack:
            _run(document, sink, on_ready, stack)
    except StartEnded as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)


def shared_function(document: Document) -> Function | None:
    """Return the function that shares this process, None where each has its own."""
    shared = (one for one in document.functions if one.execution.is_in_process)
    return next(shared, None)


def _run(document: Document, sink: Sink | None, on_ready: OnReady, stack: ExitStack) -> None:
    notifier = systemd.notifier(os.environ, CLOCK.monotonic)
    sockets = _opened(document, stack)
    document = bound(document, sockets)
    read: tuple[Secured | None, ...] = ()
    if document.process.user:
        if document.process.workers == 1:
            read = stack.enter_context(secured(document, is_early=True))  # as root
        _become(document)
    found = urls(document, sockets)
    files = presence.directory(os.environ)
    for listening, url in zip(sockets, found, strict=True):
        stack.enter_context(presence.announced(presence.reachable(listening, url), files))
    announce = partial(on_ready, found)
    stage = Stage(document, sink, sockets, notifier, announce, secured=read)
    if document.process.workers == 1:
        serve(stage)
        return
    with secured(document):  # what is wrong with certificates is said once
        status = parent.run(stage)
    on_stop(signal.SIG_DFL)
    if status:
        raise SystemExit(status)


def _opened(document: Document, stack: ExitStack) -> tuple[socket.socket, ...]:
    """Open the sockets of all listeners; the service manager opens that of a single one."""
    handed_over = systemd.handed_over(os.environ)
    if handed_over is not None and len(document.listeners) > 1:
        raise InvalidSetting(
            "the service manager has handed over one socket for "
            f"{len(document.listeners)} listeners; start without socket activation"
        )
    return tuple(
        stack.enter_context(opened(one.host, one.port, one.uds, handed_over))
        for one in document.listeners
    )


def bound(document: Document, sockets: tuple[socket.socket, ...]) -> Document:
    """Return the document with the ports that its listeners really have."""
    pairs = zip(document.listeners, sockets, strict=True)
    listeners = tuple(replace(one, port=port_of(listening)) for one, listening in pairs)
    return replace(document, listeners=listeners)


def _become(document: Document) -> None:
    """Give up root's rights for the user's."""
    process = document.process
    logs = privileges.Logs(process.access_log, process.function_logs)
    files = [one.uds for one in document.listeners if one.uds]
    privileges.give_up_root(privileges.user_named(process.user), socket_files=files, logs=logs)


def serve(stage: Stage) -> None:
    """Serve in this process."""
    with ExitStack() as stack:
        if (shared := shared_function(stage.document)) is not None:
            stack.enter_context(function_process(shared))
            on_stop(signal.SIG_DFL)
        memory.keep_one_heap()
        memory.calm_collector()
        stage = stage.fitted()
        read = stack.enter_context(secured(stage.document, stage.secured))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(stage, read))
        on_stop(signal.SIG_DFL)  # a thread of the user's module may keep Python from ending


async def _serve(stage: Stage, read: tuple[Secured | None, ...]) -> None:
    loop = asyncio.get_running_loop()
    memory.give_back(loop)
    stage.notifier.watch(loop)
    if stage.slot is not None:
        stage.slot.watch_parent()
    descriptors.watch(loop, stage.say)
    for one in filter(None, read):
        one.watch(loop, stage.say)
    is_shared = shared_function(stage.document) is not None
    async with AsyncExitStack() as stack:
        with nullcontext() if is_shared else start_that_can_be_ended():
            started = gateway(stage.document, sink=stage.sink)
            running = await stack.enter_async_context(started)
        # From here to the handlers of the server the event loop does not turn once, so a signal
        # that comes meanwhile finds them.
        await stack.enter_async_context(reloading(running, read, stage))
        hints = dict.fromkeys(one.hint for one in read if one)
        said = [running.said, stage.room, *hints, privileges.root_warning()]
        on_ready = partial(stage.say_ready, "\n".join(filter(None, said)))
        await _serve_listeners(running, read, stage, on_ready)


async def _serve_listeners(
    running: Gateway,
    read: tuple[Secured | None, ...],
    stage: Stage,
    on_ready: Callable[[], None],
) -> None:
    """Put the fronts in front of the responders and serve them."""
    listeners = stage.document.listeners
    if stage.document.process.server == "uvicorn":
        [listener] = listeners
        seen_as, responder = running.addresses[listener], running.responders[listener]
        from gateway.server.portable import serve_portable  # noqa: PLC0415 - 15 ms

        portable = portable_front(listener, seen_as, responder, stage.sink)
        await serve_portable(portable, stage, on_ready)
        return
    served = list[ServedFront]()
    for listener, listening, tls in zip(listeners, stage.sockets, read, strict=True):
        seen_as, responder = running.addresses[listener], running.responders[listener]
        reached = stage.document.reached_from(listener)
        at_once = sum(one.execution.most_started() for one in reached)
        front = listener_front(listener, seen_as, responder, stage.sink, at_once=at_once)
        protocols = tls.protocols(front) if tls else partial(Http1Connection, front)
        served.append(ServedFront(front, protocols, listening))
    await serve_fronts(served, stage, on_ready)

"""The signals and the life of the server around a front, in this process or with workers.

While the handler is imported into this process signals end it at once; while environments start
they end these first. From the moment that the listener is announced SIGINT and SIGTERM stop the
server, and SIGHUP reloads what has changed on the disk while socket and connections stay.

The listener's own front is served by the event loop itself. The portable front runs under uvicorn,
which raises a captured SIGTERM again when it is done; that would end a clean stop with status 143,
so our handlers take that second delivery.
"""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType

import uvicorn
import uvloop

from gateway.compose import functions, in_process, listener
from gateway.compose.reloads import Reload, attempted
from gateway.config.settings import Serving
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.notices import OperatorWarning
from gateway.server import descriptors, memory, presence, privileges, systemd
from gateway.server import parent as workers
from gateway.server.parent import STOPPING, terminals
from gateway.server.sockets import BACKLOG, opened, port_of, url_of
from gateway.server.systemd import Notifier
from gateway.server.worker import Place, taken_place
from gateway.telemetry.system import CLOCK, turns_of_the_loop
from gateway.telemetry.writer import to_stderr
from gateway.web.front import Front

KEEP_ALIVE_SECONDS = 60
"""ALB's `idle_timeout.timeout_seconds` (alb.md 4.1)."""

REPLACED = 0
"""In the place of a signal: another worker has taken this one's slot."""

SIGNAL_TURNS = 3
"""Turns of the event loop after which a signal that came before has been handed on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a process serves, where, and the observers of that."""

    serving: Serving
    sink: Sink | None
    listening: socket.socket
    notifier: Notifier
    announce: workers.Announce
    place: Place | None = None
    """The place of this process among the workers; None when it is the only one."""
    room: str = ""
    """How many connections there is room for, where that is less than usual."""
    secured: "Secured | None" = None
    """What was read of certificates before root's rights were given up."""


@dataclass(frozen=True, slots=True)
class Secured:
    """What an HTTPS listener has beside its socket."""

    hint: str
    """What the operator should know of the certificates."""
    watch: Callable[[asyncio.AbstractEventLoop, Callable[[str], None]], None]
    """Reads certificates that change; problems are said."""
    renew: Callable[[], list[str]]
    """Reads all certificates again and returns the problems."""
    protocols: Callable[[Front], Callable[[], asyncio.Protocol]]
    """Returns what makes the protocol of a new connection."""


class StartEnded(Exception):
    """A signal has ended the start; everything that had begun is gone."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(serving: Serving, sink: Sink | None, on_ready: Callable[[str, str], None]) -> None:
    """Serve until SIGINT or SIGTERM, with workers if there are to be some.

    Raises InvalidSetting when it cannot start, and SystemExit with the status of a worker that
    cannot.
    """
    if not serving.is_in_process or workers.is_parent(serving):
        for number in (*STOPPING, signal.SIGHUP):
            signal.signal(number, _end_start)
    try:
        with ExitStack() as stack:
            _run(serving, sink, on_ready, stack)
    except StartEnded as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)


def _end_start(number: int, _frame: FrameType | None) -> None:
    raise StartEnded(number)


def _run(
    serving: Serving, sink: Sink | None, on_ready: Callable[[str, str], None], stack: ExitStack
) -> None:
    notifier = systemd.notifier(os.environ, CLOCK.monotonic)
    place = stack.enter_context(taken_place(os.environ))
    if place is not None:
        share = serving.share(place.number)
        if place.is_successor:  # or broken code would take the place of code that serves
            share = replace(share, requires_init=True)
        _run_here(Stage(share, sink, place.listening, notifier, place.say_ready, place))
        return
    handed_over = systemd.handed_over(os.environ)
    socket_of = opened(serving.host, serving.port, serving.uds, handed_over)
    listening = stack.enter_context(socket_of)
    secured = None
    if serving.user:
        if serving.https and serving.https.certificates and serving.workers == 1:
            secured = stack.enter_context(_secured(serving))  # as root
        _become(serving, serving.user)
    url = url_of(listening, serving.scheme)
    place_of_files = presence.directory(os.environ)
    stack.enter_context(presence.announced(presence.listener(listening, url), place_of_files))
    announce = partial(on_ready, url)
    if serving.workers == 1:
        _run_here(Stage(serving, sink, listening, notifier, announce, secured=secured))
        return
    with _secured(serving):  # what is wrong with certificates is said once
        status = workers.run(serving, listening, notifier, announce)
    on_stopping(signal.SIG_DFL)
    if status:
        raise SystemExit(status)


def _become(serving: Serving, user: str) -> None:
    """Give up root's rights for the user's."""
    logs = privileges.Logs(serving.access_log, serving.function_logs)
    privileges.give_up_root(privileges.user_named(user), socket_file=serving.uds, logs=logs)


def _run_here(stage: Stage) -> None:
    """Serve in this process."""
    with ExitStack() as stack:
        if stage.serving.is_in_process:
            stack.enter_context(in_process.function_process(stage.serving.function))
            on_stopping(signal.SIG_DFL)
        memory.keep_one_heap()
        memory.calm_collector()
        stack.enter_context(_unwrapped_settings())
        stage = _fitted(stage)
        secured = stage.secured or stack.enter_context(_secured(stage.serving))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(stage, secured))
        on_stopping(signal.SIG_DFL)  # a thread of the user's module may keep Python from ending


def _fitted(stage: Stage) -> Stage:
    """Return the stage with as many connections as the descriptors of this process allow."""
    serving, allowed = stage.serving, descriptors.raise_limit()
    is_unix = stage.listening.family == socket.AF_UNIX
    limits, line = descriptors.fit(
        serving.limits, allowed, _descriptor_use(serving), is_one_address=is_unix
    )
    if serving.server == "uvicorn":  # which has no such limit
        return stage
    return replace(stage, serving=replace(serving, limits=limits), room=line)


def _descriptor_use(serving: Serving) -> descriptors.Use:
    most = serving.most_concurrent()
    if serving.remote is not None:
        return descriptors.Use("invocations elsewhere", most, descriptors.PER_UPSTREAM)
    if serving.is_in_process:
        return descriptors.Use("threads", serving.worker_threads(), descriptors.PER_THREAD)
    return descriptors.Use("execution environments", most, descriptors.PER_ENVIRONMENT)


@contextmanager
def _secured(serving: Serving) -> Iterator[Secured | None]:
    """Read or make the certificates of an HTTPS listener; None for plain HTTP."""
    if serving.https is None:
        yield None
        return
    # Plain HTTP does without 70 ms and 9 MB.
    from gateway.compose import https  # noqa: PLC0415
    from gateway.wire.tls import undecodable_names_unreported  # noqa: PLC0415

    http2 = serving.attributes.http2
    asked = https.certificates(serving.https, serving.host, CLOCK, http2=http2)
    with undecodable_names_unreported(), asked as (found, hint):
        yield Secured(
            hint,
            lambda loop, say: https.watch(loop, found, say),
            found.reload,
            lambda front: https.handshakes(front, found, at_once=serving.most_started()),
        )


def on_stopping(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Have SIGINT and SIGTERM call a handler, or with SIG_DFL end the process at once: Python's own
    handler of SIGINT raises an exception, and an import may swallow that or be stuck in native
    code."""
    for number in STOPPING:
        signal.signal(number, handler)


@contextmanager
def _unwrapped_settings() -> Iterator[None]:
    """Raise an InvalidSetting as it is, not in the groups that TaskGroups make of it."""
    try:
        yield
    except ExceptionGroup as group:
        invalid: BaseException | None = group.subgroup(InvalidSetting)
        while isinstance(invalid, ExceptionGroup):
            invalid = invalid.exceptions[0]
        if invalid is None:
            raise
        raise invalid from group


async def _serve(stage: Stage, secured: Secured | None) -> None:
    serving, sink = stage.serving, stage.sink
    loop = asyncio.get_running_loop()
    memory.give_back(loop)
    stage.notifier.watch(loop)
    if stage.place is not None:
        stage.place.watch_parent()
    on_hangup: list[Reload] = []
    say = partial(_say, sink)
    descriptors.watch(loop, say)
    if secured is not None:
        secured.watch(loop, say)
        on_hangup.append(partial(_renew, secured, say))
    async with AsyncExitStack() as stack:
        with nullcontext() if serving.is_in_process else _start_that_can_be_ended():
            function = functions.invokable(serving, sink, on_hangup)
            invoker, isolation = await stack.enter_async_context(function)
        # From here to the server's own signal handlers the event loop does not turn once, so a
        # signal that comes meanwhile finds them.
        await stack.enter_async_context(_reloading(on_hangup, stage))
        seen_as = listener.listener(serving, serving.scheme, port_of(stage.listening))
        hint = secured.hint if secured else ""
        said = [isolation, stage.room, hint, privileges.root_warning()]
        on_ready = partial(_say_ready, stage, "\n".join(filter(None, said)))
        if serving.server == "uvicorn":
            portable = listener.portable_front(serving, seen_as, invoker, sink)
            await _serve_portable(portable, stage, on_ready)
        else:
            front = listener.listener_front(serving, seen_as, invoker, sink)
            protocols = secured.protocols(front) if secured else front
            await _serve_front(front, protocols, stage, on_ready)


@contextmanager
def _start_that_can_be_ended() -> Iterator[None]:
    """Have a signal cancel the start and raise StartEnded; afterwards the server takes the
    signals over."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    signals: list[int] = []

    def cancel(number: int) -> None:
        signals.append(number)
        if task is not None:
            task.cancel()

    for number in (*STOPPING, signal.SIGHUP):
        loop.add_signal_handler(number, cancel, number)
    try:
        yield
    except asyncio.CancelledError:
        if signals:
            raise StartEnded(signals[0]) from None
        raise


def _say_ready(stage: Stage, isolation: str) -> None:
    stage.announce(isolation)
    stage.notifier.ready(_status(stage))


def _status(stage: Stage) -> str:
    return f"listening on {url_of(stage.listening, stage.serving.scheme)}"


def _say(sink: Sink | None, text: str) -> None:
    """Tell the operator."""
    if sink is not None:
        sink.emit(OperatorWarning(text))
    else:
        to_stderr(f"gateway: {text}")


async def _renew(secured: Secured, say: Callable[[str], None]) -> str:
    """Read certificates again; an error is said at once and does not fail the reload, since
    the ones before stay in use."""
    for problem in secured.renew():
        say(problem)
    return ""


@asynccontextmanager
async def _reloading(reloads: list[Reload], stage: Stage) -> AsyncIterator[None]:
    """Have each SIGHUP run the reloads, until the block ends; that of a terminal that is gone stops
    the server, as it always has."""
    asked, at_start = asyncio.Event(), terminals()

    def hang_up() -> None:
        if terminals() == at_start:
            asked.set()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_reload_when_asked(asked, reloads, stage))
        yield
        task.cancel()


async def _reload_when_asked(asked: asyncio.Event, reloads: list[Reload], stage: Stage) -> None:
    """Run all reloads, one round after the other; what fails leaves the old in place."""
    while True:
        await asked.wait()
        asked.clear()
        stage.notifier.reloading()
        failures = [failure for reload in reloads if (failure := await attempted(reload))]
        if stage.serving.is_quiet:  # else the console has said it
            for failure in failures:
                to_stderr(f"gateway: not reloaded: {failure}")
        said = "; ".join([_status(stage), *failures])
        stage.notifier.ready(said)


async def _serve_front(
    front: Front,
    protocols: Callable[[], asyncio.Protocol],
    stage: Stage,
    on_ready: Callable[[], None],
) -> None:
    """Accept until told to stop, then drain: without haste when another worker has replaced this
    one."""
    loop = asyncio.get_running_loop()
    stops: asyncio.Queue[int] = asyncio.Queue()
    for number in STOPPING:
        loop.add_signal_handler(number, stops.put_nowait, number)
    if stage.place is not None:
        stage.place.on_replaced = partial(_tell, loop, stops)
    # Of a Unix socket, too: create_unix_server removes the file, which is its creator's to remove.
    accepting = await loop.create_server(protocols, sock=stage.listening, backlog=BACKLOG)
    front.start_sweep()
    on_ready()
    first = await stops.get()
    stage.notifier.stopping()
    accepting.close()
    async with asyncio.TaskGroup() as tasks:
        draining = tasks.create_task(front.drain())
        hastening = tasks.create_task(_hasten(first, stops, front))
        await asyncio.wait({draining})
        hastening.cancel()
    front.stop()


def _tell(loop: asyncio.AbstractEventLoop, stops: asyncio.Queue[int]) -> None:
    """Say that this worker has been replaced; called on another thread."""
    with suppress(RuntimeError):  # the loop is closed: it ends already
        loop.call_soon_threadsafe(stops.put_nowait, REPLACED)


async def _hasten(first: int, stops: asyncio.Queue[int], front: Front) -> None:
    """Close idle connections soon after the first signal, and end every connection at once on a
    further Ctrl-C."""
    while first == REPLACED:
        first = await stops.get()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(front.close_idle())
        while await stops.get() != signal.SIGINT:
            pass
        front.abort()


async def _serve_portable(front: object, stage: Stage, on_ready: Callable[[], None]) -> None:
    """Have uvicorn serve, whose own handlers take the signals; one that came before counts."""
    web = uvicorn.Server(_uvicorn_config(front))
    loop, early = asyncio.get_running_loop(), list[int]()

    def stop(number: int, frame: FrameType | None) -> None:
        stage.notifier.stopping()
        web.handle_exit(number, frame)

    for number in STOPPING:
        loop.add_signal_handler(number, early.append, number)
    await turns_of_the_loop(SIGNAL_TURNS)
    for number in STOPPING:
        loop.remove_signal_handler(number)
    on_stopping(stop)
    for came in early:
        stop(came, None)
    on_ready()
    await web.serve(sockets=[stage.listening])


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

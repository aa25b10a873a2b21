"""What one process serves, where, and how it reports."""

import socket
from asyncio import AbstractEventLoop, BaseProtocol
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest

from gateway.config.document import Document
from gateway.config.function import Execution
from gateway.config.listener import Listener
from gateway.core.interfaces import Sink
from gateway.core.notices import OperatorWarning
from gateway.server import descriptors
from gateway.server.sockets import url_of
from gateway.server.systemd import Notifier
from gateway.server.worker import WorkerSlot
from gateway.telemetry.system import CLOCK
from gateway.telemetry.writer import to_stderr
from gateway.web.front import Front

Announce = Callable[[str], None]
"""Says that everything serves; it is given how isolated the functions are."""


@dataclass(frozen=True, slots=True)
class Secured:
    """What an HTTPS listener has beside its socket."""

    hint: str
    """What the operator should know of the certificates."""
    watch: Callable[[AbstractEventLoop, Callable[[str], None]], None]
    """Reads certificates that change; problems are said."""
    renew: Callable[[], list[str]]
    """Reads all certificates again and returns the problems."""
    protocols: Callable[[Front], Callable[[], BaseProtocol]]
    """Returns what makes the protocol of a new connection."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a process serves, where, and how it reports."""

    document: Document
    """Its listeners have the ports that they really listen on."""
    sink: Sink | None
    sockets: tuple[socket.socket, ...]
    """One for each listener."""
    notifier: Notifier
    announce: Announce
    slot: WorkerSlot | None = None
    """What the parent has given to this worker; None for the only process."""
    room: str = ""
    """How many connections there is room for, where that is less than usual."""
    secured: tuple[Secured | None, ...] = ()
    """What was read of certificates before root's rights were given up, by listener."""

    def say(self, text: str) -> None:
        """Tell the operator."""
        if self.sink is not None:
            self.sink.emit(OperatorWarning(text))
        else:
            to_stderr(f"gateway: {text}")

    def say_ready(self, said: str) -> None:
        """Announce that everything serves."""
        self.announce(said)
        self.notifier.ready(self.status())

    def status(self) -> str:
        """Return where this process listens."""
        return f"listening on {' '.join(urls(self.document, self.sockets))}"

    def fitted(self) -> "Stage":
        """Return the stage with as many connections as the descriptors of this process allow;
        raises InvalidSetting for limits that do not fit."""
        if self.document.process.server == "uvicorn":  # which has no such limit
            descriptors.raise_limit()
            return self
        allowed = descriptors.raise_limit()
        uses = [descriptor_use(function.execution) for function in self.document.functions]
        listeners, lines = list[Listener](), list[str]()
        for listener, listening in zip(self.document.listeners, self.sockets, strict=True):
            is_unix = listening.family == socket.AF_UNIX
            count = len(self.sockets)
            limits, line = descriptors.fit(
                listener.limits, allowed, uses, is_one_address=is_unix, listeners=count
            )
            listeners.append(replace(listener, limits=limits))
            lines.append(line)
        document = replace(self.document, listeners=tuple(listeners))
        return replace(self, document=document, room="\n".join(dict.fromkeys(filter(None, lines))))


def urls(document: Document, sockets: tuple[socket.socket, ...]) -> list[str]:
    """Return the URL of each listener."""
    pairs = zip(document.listeners, sockets, strict=True)
    return [url_of(listening, one.scheme) for one, listening in pairs]


def descriptor_use(execution: Execution) -> descriptors.Use:
    """Return the descriptors that a function is given."""
    most = execution.most_concurrent()
    if execution.remote is not None:
        return descriptors.Use("invocations elsewhere", most, descriptors.PER_UPSTREAM)
    if execution.is_in_process:
        return descriptors.Use("threads", execution.worker_threads(), descriptors.PER_THREAD)
    return descriptors.Use("execution environments", most, descriptors.PER_ENVIRONMENT)


@contextmanager
def secured(
    document: Document, early: Sequence[Secured | None] = (), *, is_early: bool = False
) -> Iterator[tuple[Secured | None, ...]]:
    """Read or make the certificates of each HTTPS listener where they were not read `early`; None
    for plain HTTP, and early for certificates that are made: they belong to the user that
    serves."""
    with ExitStack() as stack:
        yield tuple(
            found or stack.enter_context(_secured(listener, is_early=is_early))
            for listener, found in zip_longest(document.listeners, early)
        )


@contextmanager
def _secured(listener: Listener, *, is_early: bool) -> Iterator[Secured | None]:
    if listener.https is None or (is_early and not listener.https.certificates):
        yield None
        return
    # Plain HTTP does without 70 ms and 9 MB.
    from gateway.compose import https  # noqa: PLC0415
    from gateway.wire.tls import undecodable_names_unreported  # noqa: PLC0415

    asked = https.certificates(
        listener.https, listener.host, CLOCK, http2=listener.attributes.http2
    )
    with undecodable_names_unreported(), asked as (found, hint):
        yield Secured(
            hint,
            lambda loop, say: https.watch(loop, found, say),
            found.reload,
            lambda front: https.handshakes(front, found),
        )

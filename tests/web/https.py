"""A front with TLS on a real socket, its event loop in a thread, and certificates for it.

`Https` serves until its block ends; then nothing may be left of it, and neither the event loop nor
the standard library may have said a word.
"""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvloop

from gateway.core.desync import Mode
from gateway.core.interfaces import Responder
from gateway.core.limits import Limits
from gateway.core.notices import TlsNegotiationFailed
from gateway.core.pages import Pages
from gateway.core.tls_policies import DEFAULT, security_policy
from gateway.telemetry.system import SystemClock, turns_of_the_loop
from gateway.testing import FakeSink
from gateway.web.front import Front
from gateway.web.h1_connection import Http1Connection
from gateway.web.handshake import Handshakes, ProtocolMakers
from gateway.wire.tls import Certificates
from tests.web.peer import LISTENER, Telling
from tests.wire.authority import client_context, issue

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}

DEADLINE_SECONDS = 20.0
"""What no step of any test takes, even on a busy machine."""


def certificates(folder: Path, **options: Any) -> Certificates:
    """Return the certificate of localhost."""
    files = [issue(folder / "localhost.pem", "localhost")]
    return Certificates(files, security_policy(DEFAULT), now=SystemClock().now, **options)


def offering(*protocols: str) -> ssl.SSLContext:
    """Return the context of a client that trusts our authority and offers protocols by ALPN."""
    context = client_context(check_hostname=True)
    context.set_alpn_protocols(protocols)
    return context


class Heard(logging.Handler):
    """Collects what the event loop logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Https:
    """A served front; `front` and `handshakes` are looked at through `ask`, on its own loop."""

    def __init__(
        self,
        loop: str,
        served: Certificates,
        *,
        responder: Responder | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        make: ProtocolMakers | None = None,
    ) -> None:
        self.telling = Telling()
        self.sink = FakeSink()
        self.defects: list[Any] = []
        self._heard = Heard()
        self._loop = LOOPS[loop]()
        self._loop.set_exception_handler(lambda _loop, context: self.defects.append(context))
        self.front = Front(
            responder or self.telling,
            listener=LISTENER,
            pages=Pages(),
            sink=self.sink,
            clock=SystemClock(),
            draw=lambda count: "0" * count,
            limits=limits,
            mode=Mode.DEFENSIVE,
            at_once=1000,
        )
        one = {"http/1.1": lambda tls: Http1Connection(self.front, tls)}
        self.handshakes = Handshakes(self.front, served, make=make or one)
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        logging.getLogger("asyncio").addHandler(self._heard)
        self._thread.start()
        self.port = self.run(self._listen())
        return self

    async def _listen(self) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        self.front.start_sweep()
        self._server = await self._loop.create_server(self.handshakes, sock=listening)
        port: int = listening.getsockname()[1]
        return port

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        left = self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()
        logging.getLogger("asyncio").removeHandler(self._heard)
        if kind is None:
            assert left == []
            assert self.defects == []
            assert self._heard.lines == []
            assert self.front.members.connections == set()
            assert self.front.members.per_address == {}

    async def _close(self) -> list[str]:
        """Stop, and return the tasks that are left."""
        self._server.close()
        self.front.abort()
        await self.front._wait_empty(DEADLINE_SECONDS)
        self.front.stop()
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        if tasks:
            await asyncio.wait(tasks, timeout=DEADLINE_SECONDS)
        return [repr(task) for task in tasks if not task.done()]

    @property
    def failures(self) -> list[str]:
        """Why handshakes have failed."""
        notices = self.sink.notices
        return [item.reason for item in notices if isinstance(item, TlsNegotiationFailed)]

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE_SECONDS)

    def ask(self, question: Callable[[], Any]) -> Any:
        """Call something on the server's loop."""

        async def asked() -> Any:
            return question()

        return self.run(asked())

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Look, on the server's loop, until something holds."""

        async def wait() -> None:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while not condition():
                    await turns_of_the_loop(1)

        self.run(wait())

    @property
    def count(self) -> int:
        """Return how many connections are counted."""
        found: int = self.ask(lambda: len(self.front.members.connections))
        return found

    def connect(self) -> socket.socket:
        """Return a connection without a handshake."""
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_SECONDS)

    @contextmanager
    def secure(self, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
        """Return a connection after its handshake."""
        with (
            self.connect() as plain,
            (context or client_context()).wrap_socket(plain, server_hostname="localhost") as made,
        ):
            yield made


def read_all(connection: socket.socket) -> bytes:
    """Read to the end, or to the reset that takes its place."""
    found = bytearray()
    with suppress(ConnectionError, ssl.SSLError):
        while data := connection.recv(65_536):
            found += data
    return bytes(found)

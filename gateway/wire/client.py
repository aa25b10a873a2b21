"""The client of the hot path: a pool of keep-alive connections to one origin.

An exchange takes the connection that was used last, opens one more within the limit, or waits its
turn, first come first served, until its deadline. Nothing is sent twice, no redirect is followed,
and whatever may have started is told apart from what was never sent. There are no tasks here:
an exchange opens the connection that it needs.
"""

import asyncio
import math
import re
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from gateway.core.http import Headers
from gateway.wire.addresses import Address, addresses_of, check_literal
from gateway.wire.client_connection import (
    Connection,
    DeadlineExceeded,
    Interrupted,
    Reply,
    ReplyTooLarge,
    Unreachable,
)
from gateway.wire.client_proxy import Tunnel, environment_proxy, proxy_of
from gateway.wire.client_tls import ResumingContext, verifying_context

__all__ = ["DeadlineExceeded", "Interrupted", "Peer", "PeerSettings", "Reply", "ReplyTooLarge"]
__all__ += ["Unreachable", "environment_proxy"]

CLOSE_SECONDS = 1.0
"""How long a connection may take to end: TLS sends close_notify, and waits for the peer's."""

PORTS = {"http": 80, "https": 443}

TARGET = re.compile(rb"[\x21-\x7e]+")

OURS = re.compile(
    rb"^(?:Host|Content-Length|Transfer-Encoding|Connection|Upgrade|Expect|TE|Trailer)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
"""Headers that frame the request or name the peer: only the client writes them."""

BODILESS = frozenset({b"HEAD", b"CONNECT"})
"""Methods whose responses a parser of responses alone cannot frame (RFC 9112 section 6.3)."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How one origin is spoken to."""

    connections: int = 64
    """Open at once, those that are being opened among them."""
    connect_seconds: float = 5.0
    """Name, connection and TLS handshake together."""
    idle_seconds: float = 60.0
    """An unused connection is closed after this."""
    max_response_bytes: int = 8 * 1024 * 1024
    """The body, decoded; Lambda's own limit is 6 MB (lambda.md)."""
    tls: ssl.SSLContext | None = None
    """For https; None trusts the machine's authorities."""
    proxy: str | None = None
    """The URL of an HTTP proxy; see environment_proxy."""
    allowed_hosts: frozenset[str] = frozenset()
    """Hosts, in lower case, that may be link-local or metadata addresses."""


DEFAULTS = PeerSettings()


class Peer:
    """One origin and the connections to it; an async context manager that closes them."""

    loop: asyncio.AbstractEventLoop

    def __init__(
        self, scheme: str, host: str, port: int, settings: PeerSettings = DEFAULTS
    ) -> None:
        self.authority = _authority(scheme, host, port)
        """The value of the Host header that every request gets."""
        self.max_response_bytes = settings.max_response_bytes
        self.idle_seconds = settings.idle_seconds
        self._host, self._port = host, port
        self._settings = settings
        self._tls: ResumingContext | None = None
        if scheme == "https":
            self._tls = ResumingContext(settings.tls or verifying_context())
        self._proxy = proxy_of(settings.proxy) if settings.proxy else None
        self._prefix, self._lines = b"", b"Host: " + self.authority + b"\r\n"
        if self._proxy is not None and self._tls is None:
            self._prefix = b"http://" + self.authority
            self._lines += self._proxy.authorization
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._places = settings.connections
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._is_closed = False
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Begin; connections are opened when they are needed."""
        self.loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Close every connection; exchanges under way are Interrupted, waiting ones Unreachable."""
        self._is_closed = True
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(Unreachable(f"{self._name} is no longer used"))
        for connection in list(self._connections):
            connection.end()
        try:
            await self._wait_closed()
        finally:
            for connection in list(self._connections):
                connection.abort()
        await self._wait_closed()

    async def _wait_closed(self) -> None:
        """Wait until no connection is left, but no longer than close_notify may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._connections:
                    self._changed.clear()
                    await self._changed.wait()

    @property
    def _name(self) -> str:
        """Return what messages call the peer."""
        return self.authority.decode()

    # One exchange.

    async def exchange(  # noqa: PLR0913 - a request and its two times
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes,
        *,
        deadline: float,
        start_by: float = math.inf,
    ) -> Reply:
        """Send a request once and return its response, whatever the status.

        `deadline`, and `start_by`, after which nothing is sent any more, are in seconds of the
        event loop's clock. Host and what frames the request are added. Raises Unreachable if
        nothing was sent, Interrupted (DeadlinePassed, ReplyTooLarge) if the request may have
        started, ValueError for a malformed request.
        """
        request = self._head(method, target, headers, len(body))
        start_by = min(start_by, deadline)
        if start_by <= self.loop.time():
            reason = f"the deadline for {self._name} passed before the request was sent"
            raise Unreachable(reason) from TimeoutError()
        connection = self._take()
        while connection is None or not connection.is_open:
            connection = await self._obtain(start_by)
        reply = connection.start(request, body, deadline)
        try:
            return await reply
        except asyncio.CancelledError:
            connection.cancel(reply)
            raise

    async def reach(self, *, deadline: float) -> None:
        """Connect, and no more; raises Unreachable."""
        connection = await self._obtain(deadline)
        connection.abort()

    def _head(self, method: bytes, target: bytes, headers: Headers, size: int) -> bytes:
        """Return the request's head; raises ValueError for what would be read as something else."""
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        is_whole = lines.count(b"\r") == lines.count(b"\n") == len(headers) and b"\0" not in lines
        if not is_whole or OURS.search(lines):
            raise ValueError(f"these headers cannot be sent: {[name for name, _ in headers]}")
        if TARGET.fullmatch(target) is None or not method.isalpha() or method in BODILESS:
            raise ValueError(f"this request line cannot be sent: {method!r} {target!r}")
        length = b"Content-Length: %d\r\n" % size if size or method != b"GET" else b""
        parts = (method, self._prefix, target, self._lines, lines, length)
        return b"%b %b%b HTTP/1.1\r\n%b%b%b\r\n" % parts

    # The pool.

    def release(self, connection: Connection) -> None:
        """Give a connection to the oldest waiter, or keep it; called by the connection."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        elif self._is_closed:
            connection.close()
        else:
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """Free the place of a connection that is closed; called by the connection."""
        if connection not in self._connections:
            return  # its place is still that of the exchange that opened it
        self._connections.remove(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        self._free_place()
        self._changed.set()

    def remember(self, transport: asyncio.Transport) -> None:
        """Keep the TLS session for connections to come; called by the connection."""
        if self._tls is not None:
            self._tls.remember(transport.get_extra_info("ssl_object"))

    def _take(self) -> Connection | None:
        """Return the idle connection that was used last, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.abort()
        return None

    async def _obtain(self, deadline: float) -> Connection:
        """Open a connection if there is room, or wait for one, or for the room."""
        if self._is_closed:
            raise Unreachable(f"{self._name} is no longer used")
        if self._places:
            self._places -= 1
        else:
            connection = await self._wait(deadline)
            if connection is not None:
                return connection
        return await self._open_in_place(deadline)

    async def _wait(self, deadline: float) -> Connection | None:
        """Return a connection, or None for the place of one; raises Unreachable at the deadline."""
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        self._waiting.append(waiter)
        is_taken = False
        try:
            async with asyncio.timeout_at(deadline):
                connection = await waiter
                is_taken = True
                return connection
        except TimeoutError as error:
            reason = f"none of {self._settings.connections} connections to {self._name} was free"
            raise Unreachable(f"{reason} before the deadline") from error
        finally:
            if not is_taken:
                self._give_up(waiter)

    def _give_up(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """Leave the queue, and pass on what came at the same moment."""
        with suppress(ValueError):
            self._waiting.remove(waiter)
        if not waiter.done() or waiter.cancelled() or waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None:
            self._free_place()
        elif connection.is_open:
            self.release(connection)

    def _next_waiter(self) -> "asyncio.Future[Connection | None] | None":
        """Return the oldest waiter, or None."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_place(self) -> None:
        """Let the oldest waiter open a connection, or the next exchange."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self._places += 1

    # Connecting.

    async def _open_in_place(self, deadline: float) -> Connection:
        """Open a connection in a place that was taken for it, or free the place."""
        is_opened = False
        try:
            connection = await self._open_in_time(deadline)
            is_opened = connection.is_open and not self._is_closed
            if not is_opened:
                connection.abort()
                raise Unreachable(f"{self._name} closed the connection at once")
            self._connections.add(connection)
            return connection
        finally:
            if not is_opened:
                self._free_place()

    async def _open_in_time(self, deadline: float) -> Connection:
        """Open a connection; raises Unreachable."""
        until = min(deadline, self.loop.time() + self._settings.connect_seconds)
        try:
            async with asyncio.timeout_at(until):
                return await self._open(until)
        except TimeoutError as error:
            raise Unreachable(f"no connection to {self._name} in time") from error
        except ssl.SSLCertVerificationError as error:
            reason = f"the certificate of {self._name} is not accepted: {error.verify_message}"
            raise Unreachable(reason) from error
        except OSError as error:
            raise Unreachable(f"no connection to {self._name}: {error}") from error

    async def _open(self, until: float) -> Connection:
        """Try the addresses one after the other, each for its share of the time that is left.

        uvloop has no happy eyeballs; a dead first address must not take all the time.
        """
        if self._proxy is None:
            host, port = self._host, self._port
        else:
            host, port = self._proxy.host, self._proxy.port
            if not self._is_allowed(self._host):
                check_literal(self._host)
        addresses = await addresses_of(host, port, is_allowed=self._is_allowed(host))
        *others, last = addresses
        for tried, address in enumerate(others):
            share = (until - self.loop.time()) / (len(addresses) - tried)
            with suppress(OSError):
                async with asyncio.timeout(share):
                    return await self._open_at(address)
        return await self._open_at(last)

    def _is_allowed(self, host: str) -> bool:
        return host.lower() in self._settings.allowed_hosts

    async def _open_at(self, address: Address) -> Connection:
        """Return a connection to one address, through the tunnel and the handshake if need be."""
        if self._tls is not None and self._proxy is not None:
            return await self._open_through(address, self._tls, self._proxy.authorization)
        options = {} if self._tls is None else self._handshake(ssl=self._tls)
        _, connection = await self.loop.create_connection(
            partial(Connection, self), *address, **options
        )
        return connection

    def _handshake(self, **more: Any) -> dict[str, Any]:
        """Return the arguments of a TLS connection."""
        return {"server_hostname": self._host, "ssl_shutdown_timeout": CLOSE_SECONDS, **more}

    async def _open_through(
        self, address: Address, tls: ssl.SSLContext, authorization: bytes
    ) -> Connection:
        """Return a connection through a tunnel of the proxy at this address."""
        authority = _authority("", self._host, self._port)
        transport, tunnel = await self.loop.create_connection(
            partial(Tunnel, authority, authorization), *address
        )
        connection = Connection(self)
        inner: asyncio.Transport | None = None
        try:
            await tunnel.opened
            if not transport.is_closing():  # uvloop would not end the handshake
                inner = await self.loop.start_tls(transport, connection, tls, **self._handshake())
        finally:
            if inner is None:
                transport.abort()
        if inner is None:
            raise Unreachable(f"the proxy closed the connection to {self._name}")
        connection.connection_made(inner)
        return connection


def _authority(scheme: str, host: str, port: int) -> bytes:
    """Return host and port, the port only where the scheme does not say it (RFC 9110 7.2)."""
    name = f"[{host}]" if ":" in host else host
    return (name if PORTS.get(scheme) == port else f"{name}:{port}").encode("ascii")

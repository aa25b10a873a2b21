"""The first seconds of a TLS connection: counted like any other, and limited in time.

A listener accepts first and shakes hands then, so that connections without a handshake are counted
(architecture, decision 2). The first bytes are read before there is a TLS layer: a client of plain
HTTP gets a page, and a silent client costs no task. `start_tls` never calls `connection_made`;
data may come before it returns, and it may return a transport that is gone already.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import cast

from gateway.core.handshake_pace import HandshakePace
from gateway.core.http import HttpRequest, Tls
from gateway.core.limits import Progress
from gateway.web.client_address import address, is_unknown
from gateway.web.front import Front
from gateway.web.lingering import Lingering
from gateway.web.stall import Stall
from gateway.wire.h1 import response_head
from gateway.wire.tls import Certificates, tls_of
from gateway.wire.tls_transport import TlsTransport, feed

ProtocolMakers = Mapping[str, Callable[[Tls], asyncio.Protocol]]
"""For each ALPN name that is offered, what makes the connection's real protocol."""

HTTP_1 = "http/1.1"
"""The ALPN name of HTTP/1.1, and what a client without ALPN gets (RFC 7301)."""

TIME_OUT = "TIME_OUT"
LEFT = "CLIENT_LEFT"
TOO_MANY = "TOO_MANY"
"""After its failed handshakes the address would wait longer than one may take."""

PLAIN_HTTP = "HTTP_REQUEST"
"""OpenSSL's own word."""

CLOSE_NOTIFY_SECONDS = 2.0
"""How long a connection that closes waits for the client's close_notify."""

FIRST_BYTES = 4 * 1024
"""What is read, and kept, of a client whose handshake has not begun; the rest of a larger
ClientHello waits in the system."""

LATER_SECONDS = 1.0
"""How much later than the sweep the event loop ends a handshake: never first, so that a limit is
counted as one."""


class Handshakes:
    """Makes a Handshake for each connection of an HTTPS listener; `create_server` takes it."""

    def __init__(self, front: Front, certificates: Certificates, *, make: ProtocolMakers) -> None:
        """`make` must have every ALPN name that the certificates offer."""
        self.front = front
        self.certificates = certificates
        self.make = make
        self.pace = HandshakePace()
        self.buffer = memoryview(bytearray(FIRST_BYTES))
        """What is read into; it is copied at once."""

    def __call__(self) -> "Handshake":
        """Return the protocol of a new connection."""
        return Handshake(self)


class Handshake(asyncio.BufferedProtocol):
    """Shakes hands, then the connection's real protocol replaces it."""

    _transport: asyncio.Transport
    client: tuple[str, int]

    def __init__(self, handshakes: Handshakes) -> None:
        self._all = handshakes
        self._front = handshakes.front
        self._task: asyncio.Task[None] | None = None
        self._is_waiting = False
        self._first = b""
        self._early: list[bytes] = []
        self._began_at = 0.0
        self._is_over = False

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in, or end at once what is too much."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of it
        self.client = address(transport.get_extra_info("peername"))
        self._began_at = self._front.monotonic()
        if is_unknown(transport):
            self._fail(LEFT)
            self._transport.abort()
        elif not self._front.admit(self):
            self._is_over = True
            self._transport.abort()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return what all handshakes of the listener are read into."""
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(self._all.buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Begin with the first bytes, or keep those that come with the end of the handshake: one
        read of the TLS layer at most."""
        if self._task is not None or self._is_waiting:
            self._early.append(data)
        elif data[:1].isalpha():
            self._refuse_plain()
        else:
            self._transport.pause_reading()
            self._first = data
            self._begin()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget a client that left."""
        self._fail(LEFT)

    # The handshake.

    def _begin(self) -> None:
        """Begin the handshake, or later where those of this address keep failing."""
        delay = self._all.pace.delay(self.client[0], self._front.monotonic())
        if not delay:
            self._start()
        elif delay >= self._front.limits.handshake_seconds:
            self._fail(TOO_MANY)
            self._transport.abort()
        else:
            self._is_waiting = True
            asyncio.get_running_loop().call_later(delay, self._start)

    def _start(self) -> None:
        if not self._is_over:
            self._task = self._front.start(self._run())

    async def _run(self) -> None:
        """Shake hands and go on, or note why not; nothing of it is printed."""
        try:
            tls = await self._shake_hands()
            self._hand_over(tls)
        except ssl.SSLError as error:
            self._fail(error.reason or "UNKNOWN")
        except OSError:
            self._fail(LEFT)
        except Exception as error:  # noqa: BLE001 - the outermost loop: a bug ends one connection
            self._front.failed(error)
            self._fail("UNKNOWN")
        else:
            return
        self._transport.abort()

    async def _shake_hands(self) -> asyncio.Transport:
        """Return the TLS layer's transport; raises OSError, for a client that left as well."""
        limits = self._front.limits
        loop = asyncio.get_running_loop()
        # Runs between start_tls's making of the layer and the layer's beginning.
        first, self._first = self._first, b""
        feeding = loop.call_soon(feed, self._transport, first)
        try:
            tls = await loop.start_tls(
                self._transport,
                self,
                self._all.certificates.context,
                server_side=True,
                ssl_handshake_timeout=limits.handshake_seconds + LATER_SECONDS,
                ssl_shutdown_timeout=CLOSE_NOTIFY_SECONDS,
            )
        finally:
            feeding.cancel()  # there may be no layer
        if tls is None or tls.is_closing() or self._is_over:
            raise ConnectionResetError
        return tls

    def _hand_over(self, tls: asyncio.Transport) -> None:
        """Let the real connection take the place of this one; it is counted once at any time."""
        ssl_object = tls.get_extra_info("ssl_object")
        make = self._all.make[ssl_object.selected_alpn_protocol() or HTTP_1]
        connection = make(tls_of(ssl_object))
        transport = TlsTransport(tls, self._transport, connection)
        self._end()
        connection.connection_made(cast("asyncio.Transport", transport))
        for data in self._early:
            if not tls.is_closing():
                cast("asyncio.Protocol", transport.get_protocol()).data_received(data)

    # Plain HTTP.

    def _refuse_plain(self) -> None:
        """Answer plain HTTP with 400, as nginx does, and linger."""
        self._front.note_handshake(self.client, PLAIN_HTTP)
        self._is_over = True
        front = self._front
        request = HttpRequest("", b"", b"", b"", [], client=self.client)
        request.http_version = ""
        request.arrived_at = front.now()
        response = front.page(400, request, "plain HTTP on an HTTPS port: use https://")
        head = response_head(response, date=front.date, connection=b"close")
        progress = Progress()
        lingering = Lingering(
            front, self._transport, self.client, progress, Stall(self._transport, progress)
        )
        self._transport.pause_reading()  # uvloop changes between kinds of protocol only then
        self._transport.set_protocol(lingering)  # which hears whether the client takes it
        self._transport.resume_reading()
        self._transport.write(head + response.body)
        front.note(request, response, 400, len(head) + len(response.body))
        lingering.begin(self)

    # Ending.

    def _fail(self, reason: str) -> None:
        """Note a handshake that came to nothing, once."""
        if not self._is_over:
            self._front.note_handshake(self.client, reason)
            if self._task is not None and not self._is_waiting:  # a wait has been counted
                self._all.pace.failed(self.client[0], self._front.monotonic())
        self._end()

    def _end(self) -> None:
        """Count the connection out."""
        self._is_over = True
        self._front.forget(self)

    # What the front asks for.

    def check_deadlines(self, now: float) -> None:
        """End a handshake that takes too long; the sweep may ask for one that has just given
        way."""
        if not self._is_over and now - self._began_at >= self._front.limits.handshake_seconds:
            self._fail(TIME_OUT)
            self._transport.abort()

    def close_if_idle(self) -> None:
        """End the handshake: no request can be under way."""
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._end()
        self._transport.abort()
        if self._task is not None:  # which must have begun, or it is never run
            self._task.get_loop().call_soon(self._task.cancel)

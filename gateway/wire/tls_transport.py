"""The transport of a TLS connection, as honest about what waits as a plain one.

The event loop's TLS layer hides a client that takes nothing: what it has given to the socket's
transport counts as written. So the layer's own flow control is switched off, all that it encrypts
waits in the socket's transport, and the connection hears of that one's directly. A pause in reading
is the socket's too: the layer would go on and keep half a megabyte. And the layer logs a warning
for a protocol that stays after the client has sent close_notify, which any client could cause.

OpenSSL's buffers keep the size that they once had (980 KB behind a response of 1 MB). So what is
written is encrypted in pieces, and the layer is let go of with the connection: without a reference
cycle, which the garbage collector would find much later.

Nor does the layer half-close: what a client sends after our close_notify is an error to it, and it
cuts the connection off, so that the client never reads its response. So `write_eof` has the layer
send close_notify, takes it out, and half-closes the socket; what comes then is not decrypted (nginx
does the same when it lingers).
"""

import asyncio
from collections.abc import Callable
from typing import cast

READ_BYTES = 32 * 1024
"""What is read at once; the layer would read, and keep for each connection, eight times as much."""

PIECE_BYTES = 64 * 1024
"""What is encrypted at once: four records (RFC 8446 section 5.1)."""

NEVER = 2**30
"""More than ever waits: the layer itself does not ask the connection to pause."""

NOTHING = asyncio.Protocol()
NOTHING_BUFFERED = asyncio.BufferedProtocol()
"""What stays in the place of a protocol that was let go of."""


class TlsTransport:
    """What a connection writes to: a TLS layer and the socket's transport under it.

    The protocol gets data and pauses from here on; its `connection_made` is for the caller.
    """

    __slots__ = (
        "_above",
        "_below",
        "_raw",
        "_tls",
        "abort",
        "close",
        "get_extra_info",
        "is_closing",
        "pause_reading",
        "resume_reading",
    )

    def __init__(
        self, tls: asyncio.Transport, raw: asyncio.Transport, protocol: asyncio.Protocol
    ) -> None:
        self._tls: asyncio.Transport | None = tls
        self._raw = raw
        self._pass_to(tls)
        self.get_extra_info = raw.get_extra_info
        self.pause_reading = raw.pause_reading
        self.resume_reading = raw.resume_reading
        tls.set_write_buffer_limits(high=NEVER)
        raw.set_write_buffer_limits(0)  # one unsent byte is a client that may stall
        self._above = _Above(protocol, self._let_go)
        self._below = _Below(raw, protocol)
        tls.set_protocol(self._above)
        raw.set_protocol(self._below)

    def _pass_to(self, transport: asyncio.Transport) -> None:
        self.abort = transport.abort
        self.close = transport.close
        self.is_closing = transport.is_closing

    def get_protocol(self) -> asyncio.BaseProtocol | None:
        """Return the protocol that gets data and pauses now."""
        return self._below.protocol if self._tls else self._raw.get_protocol()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give data and pauses to another protocol from here on."""
        if self._tls is None:
            self._raw.set_protocol(protocol)
            return
        self._above.use(cast("asyncio.Protocol", protocol))
        self._below.protocol = cast("asyncio.Protocol", protocol)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: a byte that the socket does not take is always enough for a pause."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, in the layer and for the socket."""
        in_layer = self._tls.get_write_buffer_size() if self._tls else 0
        return in_layer + self._raw.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Encrypt it and give it to the socket; drop it behind a close_notify."""
        tls = self._tls
        if tls is None:
            return
        if len(data) <= PIECE_BYTES:
            tls.write(data)
            return
        whole = memoryview(data)
        for start in range(0, len(data), PIECE_BYTES):
            if self._raw.is_closing():
                return
            tls.write(whole[start : start + PIECE_BYTES])

    def can_write_eof(self) -> bool:
        """Say that TLS can be half-closed here."""
        return True

    def write_eof(self) -> None:
        """Send close_notify and half-close, once the socket has taken what was written before."""
        self._below.when_taken(self._send_close_notify)

    def _send_close_notify(self) -> None:
        """Have the layer say that no more comes, then take it out."""
        tls, raw = self._tls, self._raw
        if tls is None or raw.is_closing():
            return
        tls.close()  # which writes the close_notify to the socket's transport at once
        protocol = self._below.protocol
        self._above.use(NOTHING)
        self._below.end_layer()
        raw.pause_reading()  # uvloop changes between kinds of protocol only then
        raw.set_protocol(NOTHING_BUFFERED)  # uvloop keeps the methods of the last one of its kind
        raw.set_protocol(protocol)
        self._let_go()
        raw.write_eof()
        raw.resume_reading()

    def _let_go(self) -> None:
        """Keep neither the layer, and its buffers, nor the protocol."""
        self._tls = None
        self._pass_to(self._raw)
        self._above = _Above(NOTHING, do_nothing)
        self._below.let_go()


def do_nothing() -> None:
    """Do nothing."""


class _Above(asyncio.Protocol):
    """What the layer knows as its protocol: the connection, without its wish to stay."""

    def __init__(self, protocol: asyncio.Protocol, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        self.use(protocol)

    def use(self, protocol: asyncio.Protocol) -> None:
        """Hand on to this protocol."""
        self._protocol = protocol
        self.data_received = protocol.data_received  # type: ignore[method-assign]

    def eof_received(self) -> None:
        """Tell the connection that no more comes; the layer then closes."""
        self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Have the layer let go of, then tell the connection."""
        if self._protocol is not NOTHING:
            self._let_go()
        self._protocol.connection_lost(error)


class _Below(asyncio.BufferedProtocol):
    """What the socket's transport knows as its protocol: the layer, and the connection for pauses.

    The layer's methods are taken as they are, so that a read costs little more. The layer itself
    hears of no pause: it would keep what the socket's transport can count.
    """

    def __init__(self, raw: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        layer = raw.get_protocol()
        assert layer is not None  # noqa: S101 - start_tls has set it
        self._raw = raw
        self.protocol = protocol
        self._is_full = False
        self._then: Callable[[], None] | None = None
        self._buffer_of: Callable[[int], memoryview] = layer.get_buffer  # type: ignore[attr-defined]
        self.buffer_updated = layer.buffer_updated  # type: ignore[method-assign,attr-defined]
        self.eof_received = layer.eof_received  # type: ignore[method-assign,attr-defined]
        self.connection_lost = layer.connection_lost  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the first part of the layer's buffer: a connection keeps what was once used."""
        return memoryview(self._buffer_of(sizehint))[:READ_BYTES]

    def when_taken(self, then: Callable[[], None]) -> None:
        """Do something in a turn of its own, once the socket has taken everything."""
        if self._is_full:
            self._then = then
        else:
            asyncio.get_running_loop().call_soon(then)

    def end_layer(self) -> None:
        """End the layer, and its timers, as if the connection were lost."""
        self.connection_lost(None)

    def let_go(self) -> None:
        """Keep neither the layer nor the protocol."""
        self.protocol, self._then = NOTHING, None
        self.eof_received = NOTHING.eof_received  # type: ignore[method-assign]
        self.connection_lost = NOTHING.connection_lost  # type: ignore[method-assign]
        del self._buffer_of, self.buffer_updated

    def pause_writing(self) -> None:
        """Have the connection wait."""
        if not self._is_full:
            self._is_full = True
            self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Let the connection go on: the socket took it all."""
        self._is_full = False
        self.protocol.resume_writing()
        if self._then is not None:
            self.when_taken(self._then)


def feed(raw: asyncio.Transport, data: bytes) -> None:
    """Give a TLS layer that has not begun what was read before there was one."""
    layer = cast("asyncio.BufferedProtocol", raw.get_protocol())
    while data:
        room = memoryview(layer.get_buffer(len(data)))
        size = min(len(room), len(data))
        room[:size] = data[:size]
        layer.buffer_updated(size)
        data = data[size:]

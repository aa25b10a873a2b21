"""The transport of a TLS connection, as honest about what waits as a plain one.

The event loop's TLS layer hides a client that takes nothing: what it has given to the socket's
transport counts as written. So the layer's own flow control is switched off, and the connection
hears of the socket's directly. A pause in reading is the socket's too: the layer would go on and
keep half a megabyte. And the layer logs a warning for a protocol that stays after the
client has sent close_notify, which any client could cause.

Nor does the layer half-close: what a client sends after our close_notify is an error to it, and it
cuts the connection off, so that the client never reads its response. So `write_eof` has the layer
send close_notify, takes it out, and half-closes the socket; what comes then is not decrypted (nginx
does the same when it lingers).
"""

import asyncio
from collections.abc import Callable
from typing import cast

READ_BYTES = 64 * 1024
"""What is read at once; the layer would read, and keep for each connection, four times as much."""

NEVER = 2**30
"""More than ever waits: the layer itself does not ask the connection to pause."""


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
        "write",
    )

    def __init__(
        self, tls: asyncio.Transport, raw: asyncio.Transport, protocol: asyncio.Protocol
    ) -> None:
        self._tls: asyncio.Transport | None = tls
        self._raw = raw
        self._pass_to(tls)
        self.get_extra_info = tls.get_extra_info
        self.write = tls.write
        self.pause_reading = raw.pause_reading
        self.resume_reading = raw.resume_reading
        tls.set_write_buffer_limits(high=NEVER)
        raw.set_write_buffer_limits(0)  # one unsent byte is a client that may stall
        self._above = _Above(protocol)
        self._below = _Below(raw, protocol)
        tls.set_protocol(self._above)
        raw.set_protocol(self._below)

    def _pass_to(self, transport: asyncio.Transport) -> None:
        self.abort = transport.abort
        self.close = transport.close
        self.is_closing = transport.is_closing

    def get_protocol(self) -> asyncio.Protocol:
        """Return the protocol that gets data and pauses now."""
        return self._below.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give data and pauses to another protocol from here on."""
        self._above.use(cast("asyncio.Protocol", protocol))
        self._below.use(cast("asyncio.Protocol", protocol))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: a byte that the socket does not take is always enough for a pause."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, in the layer and for the socket."""
        in_layer = self._tls.get_write_buffer_size() if self._tls else 0
        return in_layer + self._raw.get_write_buffer_size()

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
        self._tls = None
        tls.close()  # which writes the close_notify to the socket's transport at once
        self._above.leave()
        raw.pause_reading()  # uvloop changes between kinds of protocol only then
        raw.set_protocol(self._below.take_out())
        self._pass_to(raw)
        raw.write_eof()
        raw.resume_reading()


class _Above(asyncio.Protocol):
    """What the layer knows as its protocol: the connection, without its wish to stay."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.use(protocol)

    def use(self, protocol: asyncio.Protocol) -> None:
        """Hand on to this protocol."""
        self._protocol = protocol
        self.data_received = protocol.data_received  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]

    def leave(self) -> None:
        """Hand on nothing more: the layer ends before the connection."""
        self.use(asyncio.Protocol())

    def eof_received(self) -> None:
        """Tell the connection that no more comes; the layer then closes."""
        self._protocol.eof_received()


class _Below(asyncio.BufferedProtocol):
    """What the socket's transport knows as its protocol: the layer, and the connection for pauses.

    The layer's methods are taken as they are, so that a read costs little more.
    """

    def __init__(self, raw: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        layer = raw.get_protocol()
        assert layer is not None  # noqa: S101 - start_tls has set it
        self._raw = raw
        self._layer = layer
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

    def use(self, protocol: asyncio.Protocol) -> None:
        """Tell this protocol of pauses."""
        self.protocol = protocol

    def when_taken(self, then: Callable[[], None]) -> None:
        """Do something in a turn of its own, once the socket has taken everything."""
        if self._is_full:
            self._then = then
        else:
            asyncio.get_running_loop().call_soon(then)

    def take_out(self) -> asyncio.Protocol:
        """End the layer, and its timers, as if the connection were lost; return what was above."""
        self._layer.connection_lost(None)
        return self.protocol

    def pause_writing(self) -> None:
        """Hold the layer back, and the connection."""
        self._layer.pause_writing()
        if not self._is_full:
            self._is_full = True
            self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Let the layer write what it has, and the connection go on if the socket took it all."""
        self._layer.resume_writing()
        if not self._raw.get_write_buffer_size():
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

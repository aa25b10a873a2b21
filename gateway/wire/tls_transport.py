"""The transport of a TLS connection, as honest about what waits as a plain one.

The event loop's TLS layer hides a client that takes nothing: what it has given to the socket's
transport counts as written. So the layer's own flow control is switched off, and the connection
hears of the socket's directly. And the layer logs a warning for a protocol that stays after the
client has said goodbye, which any client could cause.
"""

import asyncio
from typing import cast

NEVER = 2**30
"""More than ever waits: the layer itself does not ask the connection to pause."""


class TlsTransport:
    """What a connection writes to: a TLS layer and the socket's transport under it.

    The protocol gets data and pauses from here on; its `connection_made` is for the caller.
    """

    __slots__ = (
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
        self._tls = tls
        self._raw = raw
        self.abort = tls.abort
        self.close = tls.close
        self.get_extra_info = tls.get_extra_info
        self.is_closing = tls.is_closing
        self.pause_reading = tls.pause_reading
        self.resume_reading = tls.resume_reading
        self.write = tls.write
        tls.set_write_buffer_limits(high=NEVER)
        raw.set_write_buffer_limits(0)  # one unsent byte is a client that may stall
        tls.set_protocol(_Above(protocol))
        raw.set_protocol(_Below(raw, protocol))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: a byte that the socket does not take is always enough for a pause."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, in the layer and for the socket."""
        return self._tls.get_write_buffer_size() + self._raw.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        """Say that TLS is not half-closed here."""
        return False


class _Above(asyncio.Protocol):
    """What the layer knows as its protocol: the connection, without its wish to stay."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        self.data_received = protocol.data_received  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]

    def eof_received(self) -> None:
        """Tell the connection that no more comes; the layer then closes."""
        self._protocol.eof_received()


class _Below(asyncio.BufferedProtocol):
    """What the socket's transport knows as its protocol: the layer, and the connection for pauses.

    The layer's methods are taken as they are, so that a read costs nothing more.
    """

    def __init__(self, raw: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        layer = raw.get_protocol()
        assert layer is not None  # noqa: S101 - start_tls has set it
        self._raw = raw
        self._layer = layer
        self._protocol = protocol
        self._is_full = False
        self.get_buffer = layer.get_buffer  # type: ignore[method-assign,attr-defined]
        self.buffer_updated = layer.buffer_updated  # type: ignore[method-assign,attr-defined]
        self.eof_received = layer.eof_received  # type: ignore[method-assign,attr-defined]
        self.connection_lost = layer.connection_lost  # type: ignore[method-assign]

    def pause_writing(self) -> None:
        """Hold the layer back, and the connection."""
        self._layer.pause_writing()
        if not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Let the layer write what it has, and the connection go on if the socket took it all."""
        self._layer.resume_writing()
        if not self._raw.get_write_buffer_size():
            self._is_full = False
            self._protocol.resume_writing()


def feed(raw: asyncio.Transport, data: bytes) -> None:
    """Give a TLS layer that has not begun what was read before there was one."""
    layer = cast("asyncio.BufferedProtocol", raw.get_protocol())
    while data:
        room = memoryview(layer.get_buffer(len(data)))
        size = min(len(room), len(data))
        room[:size] = data[:size]
        layer.buffer_updated(size)
        data = data[size:]

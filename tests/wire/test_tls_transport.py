"""Between a TLS layer and its socket: who is told of a client that takes nothing, and when."""

import asyncio
from typing import Any, cast

import pytest

from gateway.wire.tls_transport import TlsTransport, feed


class Transport(asyncio.Transport):
    """A transport whose buffer a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.written = b""
        self.limits: dict[str, int | None] = {}
        self.protocol: Any = None

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = {"high": high, "low": low}

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


class Layer(asyncio.BufferedProtocol):
    """A TLS layer that has room for four bytes at a time."""

    def __init__(self, raw: Transport) -> None:
        self.raw = raw
        self.taken = b""
        self.told: list[str] = []
        self.more = 0
        self._room = bytearray(4)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self.taken += self._room[:nbytes]

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        """Write what was kept, which may be too much again."""
        self.told.append("resume")
        if self.more:
            self.raw.waiting, self.more = self.more, 0
            self.raw.protocol.pause_writing()


class Application(asyncio.Protocol):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Joined:
    """Everything around a TlsTransport."""

    def __init__(self) -> None:
        self.tls, self.raw = Transport(), Transport()
        self.layer = Layer(self.raw)
        self.raw.protocol = self.layer
        self.application = Application()
        self.transport = TlsTransport(self.tls, self.raw, self.application)


def test_connection_pauses_and_goes_on_with_the_socket() -> None:
    joined = Joined()

    joined.raw.waiting = 9
    joined.raw.protocol.pause_writing()
    assert joined.application.told == joined.layer.told == ["pause"]

    joined.raw.waiting = 0
    joined.raw.protocol.resume_writing()
    assert joined.application.told == joined.layer.told == ["pause", "resume"]


def test_connection_waits_until_the_layer_has_written_all_it_kept() -> None:
    joined = Joined()
    joined.raw.waiting, joined.layer.more = 9, 5
    joined.raw.protocol.pause_writing()

    joined.raw.waiting = 0
    joined.raw.protocol.resume_writing()
    assert joined.layer.told == ["pause", "resume", "pause"]
    assert joined.application.told == ["pause"]

    joined.raw.waiting = 0
    joined.raw.protocol.resume_writing()
    assert joined.application.told == ["pause", "resume"]


def test_what_waits_is_counted_on_both_sides() -> None:
    joined = Joined()
    joined.raw.waiting, joined.tls.waiting = 9, 5

    assert joined.transport.get_write_buffer_size() == 14


def test_layer_is_never_asked_to_pause_by_its_own_limits() -> None:
    joined = Joined()
    before = joined.tls.limits
    joined.transport.set_write_buffer_limits(0)

    assert joined.tls.limits == before
    assert joined.raw.limits["high"] == 0
    assert (before["high"] or 0) > 2**20


def test_layer_hears_nothing_of_a_wish_to_stay() -> None:
    joined = Joined()
    above = cast("asyncio.Protocol", joined.tls.protocol)
    above.data_received(b"data")

    assert above.eof_received() is None
    above.connection_lost(None)
    assert joined.application.told == [b"data", "eof", "lost"]


def test_writes_go_to_the_layer_and_reads_come_from_the_socket() -> None:
    joined = Joined()
    joined.transport.write(b"data")
    feed(joined.raw, b"record")

    assert joined.tls.written == b"data"
    assert joined.layer.taken == b"record"
    assert not joined.transport.can_write_eof()


@pytest.mark.parametrize("data", [b"", b"abc", b"abcd", b"abcdefghi"])
def test_layer_is_fed_whatever_its_room(data: bytes) -> None:
    raw = Transport()
    layer = Layer(raw)
    raw.protocol = layer
    feed(raw, data)

    assert layer.taken == data

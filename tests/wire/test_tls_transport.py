"""Between a TLS layer and its socket: when the layer is told of a client that takes nothing."""

import asyncio
import gc
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from gateway.wire.tls_transport import PIECE_BYTES, TlsTransport, feed


class Transport(asyncio.Transport):
    """A transport whose buffer a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.written = b""
        self.sizes: list[int] = []
        self.limits: dict[str, int | None] = {}
        self.protocol: Any = None
        self.is_gone = False
        self.acts: list[str] = []

    def close(self) -> None:
        self.acts.append("close")

    def abort(self) -> None:
        self.acts.append("abort")

    def write_eof(self) -> None:
        self.acts.append("eof")

    def pause_reading(self) -> None:
        self.acts.append("pause")

    def resume_reading(self) -> None:
        self.acts.append("resume")

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
        self.sizes.append(len(data))

    def is_closing(self) -> bool:
        return self.is_gone


class Layer(asyncio.BufferedProtocol):
    """A TLS layer that has room for four bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""
        self.told: list[str] = []
        self.above: Any = None
        self._room = bytearray(4)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self.taken += self._room[:nbytes]

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell what is above, as a layer does."""
        self.told.append("lost")
        above, self.above = self.above, None
        above.connection_lost(None)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Application(asyncio.Protocol):
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.transport: Any = None

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
        self.layer = Layer()
        self.raw.protocol = self.layer
        self.application = Application()
        self.transport = TlsTransport(self.tls, self.raw, self.application)
        self.layer.above = self.tls.protocol


def test_connection_pauses_and_goes_on_with_the_socket_and_the_layer_hears_nothing() -> None:
    joined = Joined()

    joined.raw.waiting = 9
    joined.raw.protocol.pause_writing()
    assert joined.application.told == ["pause"]

    joined.raw.waiting = 0
    joined.raw.protocol.resume_writing()
    assert joined.application.told == ["pause", "resume"]
    assert joined.layer.told == []  # it would keep what it encrypts


@pytest.mark.parametrize(
    "sizes",
    [[1], [PIECE_BYTES], [PIECE_BYTES, 1], [PIECE_BYTES] * 2, [PIECE_BYTES, PIECE_BYTES, 1]],
)
def test_no_more_is_encrypted_at_once_than_a_piece(sizes: list[int]) -> None:
    joined = Joined()
    data = random.Random(1).randbytes(sum(sizes))
    joined.transport.write(data)

    assert joined.tls.written == data
    assert joined.tls.sizes == sizes


def test_rest_is_not_encrypted_for_a_client_that_has_gone() -> None:
    joined = Joined()
    joined.raw.is_gone = True
    joined.transport.write(b"x" * (PIECE_BYTES + 1))

    assert joined.tls.written == b""


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_lost_connection_keeps_neither_layer_nor_protocol() -> None:
    joined = Joined()
    joined.application.transport = joined.transport  # as a connection has
    layer, application = weakref.ref(joined.layer), weakref.ref(joined.application)
    transport, told = joined.transport, joined.application.told
    joined.raw.protocol.connection_lost(None)  # which has the layer tell what is above
    joined.raw.protocol = joined.tls.protocol = None
    del joined

    assert told == ["lost"]
    assert (layer(), application()) == (None, None)
    transport.write(b"late")
    assert transport.get_write_buffer_size() == 0


@pytest.mark.usefixtures("uncollected")
def test_half_closed_connection_keeps_no_layer(turns: "Turns") -> None:
    joined = Joined()
    layer, other = weakref.ref(joined.layer), Application()
    turns.do(joined.transport.write_eof)
    turns.do()
    del joined.layer
    joined.tls.protocol = None

    assert layer() is None
    joined.transport.set_protocol(other)
    assert joined.raw.protocol is other
    assert joined.transport.get_protocol() is other


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


class Turns:
    """An event loop that turns when told to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def do(self, *acts: Callable[[], None]) -> None:
        """Do this, and what was put off until this turn."""
        for act in acts:
            self.loop.call_soon(act)
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()


@pytest.fixture
def turns() -> Iterator[Turns]:
    made = Turns()
    yield made
    made.loop.close()


def test_half_close_sends_close_notify_and_takes_the_layer_out(turns: Turns) -> None:
    joined = Joined()
    assert joined.transport.can_write_eof()

    turns.do(joined.transport.write_eof)
    assert joined.tls.acts == []  # the layer may be at work
    turns.do()

    assert joined.tls.acts == ["close"]
    assert joined.layer.told == ["lost"]
    assert joined.application.told == []
    assert joined.raw.acts == ["pause", "eof", "resume"]
    assert joined.raw.protocol is joined.application


def test_what_is_done_after_close_notify_is_done_to_the_socket(turns: Turns) -> None:
    joined = Joined()
    turns.do(joined.transport.write_eof)
    turns.do()
    joined.raw.acts.clear()
    joined.raw.waiting, joined.tls.waiting = 9, 5

    joined.transport.abort()
    joined.transport.close()
    joined.raw.is_gone = True

    assert joined.raw.acts == ["abort", "close"]
    assert joined.transport.get_write_buffer_size() == 9
    assert joined.transport.is_closing()


def test_close_notify_is_sent_once(turns: Turns) -> None:
    joined = Joined()
    for _ in range(2):
        turns.do(joined.transport.write_eof)
        turns.do()

    assert joined.tls.acts == ["close"]


def test_close_notify_waits_until_the_socket_has_taken_what_was_written(turns: Turns) -> None:
    joined = Joined()
    joined.raw.waiting = 9
    joined.raw.protocol.pause_writing()
    turns.do(joined.transport.write_eof)
    turns.do()
    assert joined.tls.acts == []

    joined.raw.waiting = 0
    turns.do(joined.raw.protocol.resume_writing)
    turns.do()

    assert joined.application.told == ["pause", "resume"]
    assert joined.tls.acts == ["close"]


def test_close_notify_is_not_sent_to_a_client_that_has_gone(turns: Turns) -> None:
    joined = Joined()
    turns.do(joined.transport.write_eof)
    joined.raw.is_gone = True
    turns.do()

    assert (joined.tls.acts, joined.raw.acts) == ([], [])


def test_another_protocol_gets_data_and_pauses() -> None:
    joined, other = Joined(), Application()

    joined.transport.set_protocol(other)
    joined.tls.protocol.data_received(b"data")
    joined.raw.protocol.pause_writing()
    joined.raw.protocol.resume_writing()
    joined.tls.protocol.eof_received()
    assert joined.transport.get_protocol() is other
    joined.tls.protocol.connection_lost(None)

    assert other.told == [b"data", "pause", "resume", "eof", "lost"]
    assert joined.application.told == []


@pytest.mark.parametrize("data", [b"", b"abc", b"abcd", b"abcdefghi"])
def test_layer_is_fed_whatever_its_room(data: bytes) -> None:
    raw = Transport()
    layer = Layer()
    raw.protocol = layer
    feed(raw, data)

    assert layer.taken == data

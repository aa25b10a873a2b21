"""Held bytes are counted in and out exactly; nothing is written that the client does not take."""

import asyncio
from typing import Any

import pytest

from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.room import Room
from gateway.core.turns import Claim, Share
from gateway.web.h2_stream import Stream
from gateway.web.h2_writer import ROUND_BYTES, TURN_BYTES, Writer, cut_off
from gateway.wire.h2 import Session


class Windows(Session):
    """A session whose windows the test sets, and what was sent on it."""

    __slots__ = ("rooms", "sent")

    def __init__(self, **rooms: int) -> None:
        self.rooms = {int(name[1:]): room for name, room in rooms.items()}
        self.sent: list[tuple[int, int, bool]] = []

    def room(self, stream_id: int) -> int:
        return self.rooms[stream_id]

    def send_data(self, stream_id: int, data: bytes | memoryview, *, is_last: bool) -> None:
        self.rooms[stream_id] -= len(data)
        self.sent.append((stream_id, len(data), is_last))

    def take(self) -> bytes:
        return b"frames"


class Taking(asyncio.Transport):
    """A transport that has room until told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = self.unsent = 0
        self.reading = True
        self.limits: tuple[Any, ...] = ()
        self.is_aborted = False

    def write(self, _data: bytes | bytearray | memoryview) -> None:
        self.writes += 1

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.is_aborted = True


REQUEST = HttpRequest("GET", b"/", b"/", b"", [])


def writer(session: Session, *sizes: int) -> tuple[Writer, Room, Taking]:
    """A writer of responses of these sizes, on streams 1, 3, ..."""
    room, transport, share = Room(1), Taking(), Share("a", list)
    made = Writer(session, room)
    made.begin(transport)
    for index, size in enumerate(sizes):
        stream = Stream(1 + 2 * index, REQUEST, Claim(share), has_ended=True)
        stream.answer(HttpResponse(200, "OK", [], bytes(size)), b"")
        room.reply(stream.claim, size)
        made.add(stream)
    return made, room, transport


def test_write_limit_is_not_zero() -> None:
    _, _, transport = writer(Windows())

    assert transport.limits == (1, 0)


def test_response_within_its_window_is_written_at_once() -> None:
    session = Windows(s1=100)
    made, room, _ = writer(session, 100)

    sent, finished = made.flush(0)

    assert (sent, [stream.stream_id for stream in finished]) == (100, [1])
    assert session.sent == [(1, 100, True)]
    assert room.total == 0


@pytest.mark.parametrize("window", [0, 1, 99])
def test_response_beyond_its_window_waits(window: int) -> None:
    session = Windows(s1=window)
    made, room, _ = writer(session, 100)

    assert made.flush(0) == (window, [])
    assert room.total == (100 if window < 50 else 100 - window)  # a part of a body holds all of it
    session.rooms[1] = 100
    assert made.flush(0) == (0, [])  # no frame said that the window grew

    made.is_due = True
    assert made.flush(0)[0] == 100 - window
    assert room.total == 0


def test_stream_without_window_holds_up_no_other() -> None:
    session = Windows(s1=0, s3=2**20)
    made, _, _ = writer(session, 10, 3 * TURN_BYTES)

    assert made.flush(0)[0] == 3 * TURN_BYTES


def test_streams_take_turns() -> None:
    session = Windows(s1=2**20, s3=2**20)
    made, _, _ = writer(session, 3 * TURN_BYTES, 3 * TURN_BYTES)
    made.flush(0)

    assert [stream_id for stream_id, _, _ in session.sent] == [1, 3, 1, 3, 1, 3]


def test_transport_is_asked_between_rounds() -> None:
    session = Windows(s1=2**30)
    made, _, transport = writer(session, 4 * ROUND_BYTES)
    transport.write = lambda _data: made.pause(0)  # type: ignore[method-assign]

    assert made.flush(0)[0] == ROUND_BYTES
    assert not transport.reading
    made.resume()
    assert transport.reading
    assert made.flush(0)[0] == ROUND_BYTES


def test_nothing_is_written_to_a_transport_that_is_gone() -> None:
    made, _, transport = writer(Windows())
    transport.abort()

    made.write()
    made.pause(0)
    made.resume()

    assert (transport.writes, transport.reading) == (0, True)


def test_stream_that_is_forgotten_is_not_written() -> None:
    session = Windows(s1=0, s3=30)
    made, room, _ = writer(session, 50, 70)
    made.flush(0)
    assert room.total == 50 + 70

    for stream in list(made._waiting.values()):
        made.forget(stream)
    session.rooms = {1: 100, 3: 100}
    made.is_due = True

    assert made.flush(0) == (0, [])


@pytest.mark.parametrize(("now", "takes_nothing"), [(0.9, False), (1.0, True), (1.1, True)])
def test_client_that_takes_nothing_is_known_by_its_last_byte(
    now: float, *, takes_nothing: bool
) -> None:
    made, _, _ = writer(Windows(s1=0), 10)
    made.flush(0)

    assert made.takes_nothing(now, 1) is takes_nothing


def test_client_that_takes_one_stream_takes_something() -> None:
    session = Windows(s1=0, s3=0)
    made, _, _ = writer(session, 10, 10)
    made.flush(0)
    session.rooms[3] = 5
    made.is_due = True
    made.flush(5)

    assert not made.takes_nothing(5.9, 1)
    assert made.takes_nothing(6, 1)


def test_client_for_which_nothing_waits_takes_all() -> None:
    made, _, _ = writer(Windows(s1=10), 10)
    made.flush(0)

    assert made.has_sent
    assert not made.takes_nothing(100, 1)


def test_time_without_anything_to_take_does_not_count() -> None:
    session = Windows(s1=10, s3=0)
    made, _, _ = writer(session, 10)
    made.flush(0)
    later = Stream(3, REQUEST, Claim(Share("a", list)), has_ended=True)
    later.answer(HttpResponse(200, "OK", [], bytes(10)), b"")
    later.moved_at = 100
    made.add(later)

    assert not made.takes_nothing(100.9, 1)


@pytest.mark.parametrize(("now", "has_stalled"), [(59.9, False), (60.0, True)])
def test_stream_without_window_stalls(now: float, *, has_stalled: bool) -> None:
    made, _, _ = writer(Windows(s1=0), 10)
    made.flush(0)

    assert made.has_stalled(now, 60) is has_stalled


def test_stream_with_a_window_does_not() -> None:
    made, _, _ = writer(Windows(s1=1), 10)

    assert not made.has_stalled(1000, 60)


def test_transport_that_takes_something_does_not_stall() -> None:
    made, _, transport = writer(Windows(s1=0), 10)
    transport.unsent = 100
    made.pause(0)
    assert made.has_stalled(60, 60)

    transport.unsent = 99
    assert not made.has_stalled(61, 60)
    assert not made.has_stalled(120, 60)
    assert made.has_stalled(121, 60)


def test_cut_off_needs_no_socket() -> None:
    transport = Taking()

    cut_off(transport)

    assert transport.is_aborted

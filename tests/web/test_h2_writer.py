"""What is held is counted in and out to the byte, and nothing is written that nobody takes."""

import asyncio
from typing import Any

import pytest

from gateway.core.floods import HELD_BYTES, HELD_BYTES_IN_ALL, Held
from gateway.core.http import HttpRequest, HttpResponse
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


def writer(session: Session, *sizes: int) -> tuple[Writer, Held, Taking]:
    """A writer of responses of these sizes, on streams 1, 3, ..."""
    held, transport = Held(), Taking()
    made = Writer(session, held)
    made.begin(transport)
    for index, size in enumerate(sizes):
        stream = Stream(1 + 2 * index, HttpRequest("GET", b"/", b"/", b"", []), has_ended=True)
        stream.answer(HttpResponse(200, "OK", [], bytes(size)), b"")
        assert made.hold(size)
        made.add(stream)
    return made, held, transport


def test_write_limit_is_not_zero() -> None:
    _, _, transport = writer(Windows())

    assert transport.limits == (1, 0)


def test_response_within_its_window_is_written_at_once() -> None:
    session = Windows(s1=100)
    made, held, _ = writer(session, 100)

    sent, finished = made.flush(0)

    assert (sent, [stream.stream_id for stream in finished]) == (100, [1])
    assert session.sent == [(1, 100, True)]
    assert held.total == 0


@pytest.mark.parametrize("room", [0, 1, 99])
def test_response_beyond_its_window_waits(room: int) -> None:
    session = Windows(s1=room)
    made, held, _ = writer(session, 100)

    assert made.flush(0) == (room, [])
    assert held.total == 100 - room
    session.rooms[1] = 100
    assert made.flush(0) == (0, [])  # nobody has said that the window grew

    made.is_due = True
    assert made.flush(0)[0] == 100 - room
    assert held.total == 0


def test_stream_without_window_holds_up_nobody() -> None:
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


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_no_more_is_held_than_there_is_room_for(over: int) -> None:
    made, held, _ = writer(Windows(), 100)
    size = HELD_BYTES - 100 + over

    assert made.hold(size) is (over <= 0)
    assert held.total == (HELD_BYTES + over if over <= 0 else 100)


class Hog:
    """Holds so much of what is held until it is evicted."""

    def __init__(self, held: Held, held_bytes: int) -> None:
        self._held = held
        self.held_bytes = held_bytes
        held.holders.add(self)
        held.total += held_bytes

    def evict(self) -> None:
        self._held.total -= self.held_bytes
        self.held_bytes = 0


def test_room_is_made_by_whoever_holds_most() -> None:
    made, held, _ = writer(Windows())
    most, *others = [Hog(held, size) for size in (HELD_BYTES, *[HELD_BYTES - 1] * 4)]
    others.append(Hog(held, HELD_BYTES_IN_ALL - held.total))

    assert made.hold(100)
    assert most.held_bytes == 0
    assert all(other.held_bytes for other in others)
    assert (made.held_bytes, held.total) == (100, HELD_BYTES_IN_ALL - HELD_BYTES + 100)


def test_nobody_is_evicted_while_there_is_room() -> None:
    made, held, _ = writer(Windows())
    hogs = [Hog(held, HELD_BYTES) for _ in range(5)]

    assert made.hold(HELD_BYTES_IN_ALL - 5 * HELD_BYTES)
    assert [hog.held_bytes for hog in hogs] == [HELD_BYTES] * 5


def test_nobody_is_evicted_for_one_that_would_hold_as_much() -> None:
    made, held, _ = writer(Windows())
    hog = Hog(held, 100)
    held.total = HELD_BYTES_IN_ALL

    assert not made.hold(100)
    assert (made.held_bytes, hog.held_bytes) == (0, 100)


def test_stream_that_is_forgotten_holds_nothing() -> None:
    made, held, _ = writer(Windows(s1=0, s3=30), 50, 70)
    made.flush(0)
    assert held.total == 90

    for stream in list(made._waiting.values()):
        made.forget(stream)

    assert held.total == 0


def test_body_that_is_released_holds_nothing() -> None:
    made, held, _ = writer(Windows())
    stream = Stream(1, HttpRequest("POST", b"/", b"/", b"", []), has_ended=False)
    stream.expect_body(0)
    made.hold(3)
    stream.add(b"abc", 0)

    made.release(stream)

    assert held.total == 0


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

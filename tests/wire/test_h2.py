"""Frames are seen in any pieces, and nghttp2 does what limits of ours rest on."""

import struct

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.floods import CONTINUATION, END_HEADERS, HEADERS, Frame
from gateway.wire.h2 import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    Broken,
    Data,
    Event,
    Frames,
    GoAway,
    Request,
    Reset,
    Session,
    Settings,
    Trailers,
    WindowUpdate,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/a?b")]
PING_KIND, GOAWAY_KIND, RST_KIND = 0x6, 0x7, 0x3
CANCEL = 0x8


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    size = struct.pack(">I", len(payload))[1:]
    return size + bytes([kind, flags]) + struct.pack(">I", stream_id) + payload


OPENING = PREFACE + frame(0x4, 0, 0)


def request(stream_id: int = 1, *more: tuple[str, str], flags: int = 0x5) -> bytes:
    return frame(HEADERS, flags, stream_id, hpack.Encoder().encode([*GET, *more]))


def opened(*frames: bytes) -> tuple[Session, list[Event]]:
    """A session that was sent these, and what it told; what it had to send is taken."""
    session = Session()
    session.preface()
    events = list(session.receive(OPENING + b"".join(frames)))
    session.take()
    return session, events[1:]


def kinds(data: bytes) -> list[int]:
    return [kind for kind, _, _ in Frames().scan(PREFACE + data)]


# What comes


def test_request_is_told_with_its_fields() -> None:
    _, (event,) = opened(request(1, ("x", "y")))

    assert isinstance(event, Request)
    assert event.end_stream
    assert event.headers == (*[(n.encode(), v.encode()) for n, v in GET], (b"x", b"y"))


def test_everything_else_is_told() -> None:
    _, events = opened(
        request(1, flags=0x4),
        frame(0x0, 0, 1, b"abc"),
        frame(0x0, 1, 1),
        frame(0x8, 0, 0, b"\0\0\0\1"),
        request(3, flags=0x4),
        frame(HEADERS, 0x5, 3, hpack.Encoder().encode([("x", "y")])),
        request(5),
        frame(0x3, 0, 5, b"\0\0\0\x08"),
        frame(0x7, 0, 0, bytes(8)),
    )

    told = [Request, Data, Data, WindowUpdate, Request, Trailers, Request, Reset, GoAway]
    assert [type(event) for event in events] == told
    assert [event.end_stream for event in events if isinstance(event, Data)] == [False, True]


def test_settings_are_acknowledged_and_a_ping_is_answered() -> None:
    session = Session()
    session.preface()

    events = list(session.receive(OPENING + frame(PING_KIND, 0, 0, b"12345678")))

    assert isinstance(events[0], Settings)
    assert session.take() == frame(0x4, 1, 0) + frame(PING_KIND, 1, 0, b"12345678")


def test_bytes_that_are_not_http2_are_broken() -> None:
    session = Session()
    session.preface()

    with pytest.raises(Broken):
        list(session.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))


def test_broken_protocol_leaves_a_goaway_to_send() -> None:
    session, _ = opened()

    with pytest.raises(Broken) as broken:
        list(session.receive(frame(0x8, 0, 0, bytes(4))))

    assert broken.value.code == PROTOCOL_ERROR
    assert kinds(session.take()) == [GOAWAY_KIND]


def test_session_that_is_broken_takes_and_says_nothing_more() -> None:
    session, _ = opened(request(1), request(3, flags=0x4))
    session.withhold(3)
    list(session.receive(frame(0x0, 0, 3, b"abc")))
    with pytest.raises(Broken):
        list(session.receive(request(5, flags=1) + frame(CONTINUATION, 0, 5) * 20))

    session.send_head(1, 200, [], is_last=False)
    session.send_data(1, b"x", is_last=True)
    session.reset(1, CANCEL)
    session.give_back(3)
    session.announce_end()
    session.go_away(1, NO_ERROR)

    assert session.room(1) == 0
    assert session.take() == frame(GOAWAY_KIND, 0, 0, struct.pack(">II", 3, ENHANCE_YOUR_CALM))
    assert list(session.receive(request(7))) == []
    assert session.take() == b""


# Resets are told once


def test_reset_of_nghttp2_is_told() -> None:
    session, _ = opened(request(1, ("content-length", "5"), flags=0x4))

    (reset,) = session.receive(frame(0x0, 1, 1, b"abcd"))

    assert isinstance(reset, Reset)
    assert (reset.stream_id, kinds(session.take())) == (1, [RST_KIND])


def test_reset_of_our_own_is_not_told() -> None:
    session, _ = opened(request(1), request(3))
    session.reset(1, CANCEL)
    assert kinds(session.take()) == [RST_KIND]
    assert list(session.receive(frame(PING_KIND, 0, 0, bytes(8)))) == []

    session.reset(3, CANCEL)
    assert list(session.receive(frame(RST_KIND, 0, 3, bytes(4)))) == []
    assert session._reset == set()


def test_reset_of_a_stream_that_was_answered_is_told() -> None:
    session, _ = opened(request(1))
    session.send_head(1, 200, [], is_last=True)
    session.take()

    assert [type(event) for event in session.receive(frame(RST_KIND, 0, 1, bytes(4)))] == [Reset]


# Receive windows


def windows(data: bytes) -> dict[int, int]:
    """What WINDOW_UPDATE frames give, by stream."""
    found: dict[int, int] = {}
    while data:
        end = 9 + int.from_bytes(data[:3], "big")
        if data[3] == 8:
            found[int.from_bytes(data[5:9], "big")] = int.from_bytes(data[9:end], "big")
        data = data[end:]
    return found


def test_window_is_given_back_when_half_is_used() -> None:
    session, _ = opened(request(1, flags=0x4))

    list(session.receive(frame(0x0, 0, 1, bytes(16_384))))
    assert session.take() == b""
    list(session.receive(frame(0x0, 0, 1, bytes(16_384))))

    assert windows(session.take()) == {1: 32_768}


def test_window_is_withheld_from_the_piece_that_is_being_read() -> None:
    session, _ = opened(request(1, flags=0x4), request(3, flags=0x4))
    for _ in session.receive(frame(0x0, 0, 1, bytes(16_384))):
        session.withhold(1)
    list(session.receive(frame(0x0, 0, 1, bytes(16_384))))
    list(session.receive(frame(0x0, 0, 1, bytes(16_384)) + frame(0x0, 0, 3, bytes(16_384)) * 2))
    assert windows(session.take()) == {3: 32_768}

    session.give_back(1)

    assert windows(session.take()) == {1: 3 * 16_384}


def test_connection_has_a_window_for_all_streams() -> None:
    """What came of streams that are over does not use it up."""
    assert windows(Session().preface()) == {0: 2**31 - 1 - 65_535}


# Facts of nghttp2 that limits of ours rest on


def test_preface_allows_128_streams_and_no_extended_connect() -> None:
    data = Session().preface()

    size = int.from_bytes(data[:3], "big")
    assert dict(struct.iter_unpack(">HI", data[9 : 9 + size])) == {3: 128, 6: 64 * 1024}


def test_stream_over_128_is_refused_unheard_before_the_limit_is_known() -> None:
    session = Session()
    session.preface()

    data = OPENING + b"".join(request(1 + 2 * count) for count in range(129))
    events = list(session.receive(data))[1:]

    assert [type(event) for event in events] == [Request] * 128
    assert session.take().endswith(frame(RST_KIND, 0, 257, struct.pack(">I", REFUSED_STREAM)))


def test_stream_over_128_ends_the_connection_once_the_limit_is_known() -> None:
    acknowledged = frame(0x4, 1, 0)

    with pytest.raises(Broken):
        opened(acknowledged, *[request(1 + 2 * count) for count in range(129)])


@pytest.mark.slow
def test_streams_and_resets_of_a_connection_are_not_counted() -> None:
    session, _ = opened()
    for index in range(10_000):
        stream_id = 1 + 2 * index
        is_reset = index % 2 == 0
        end = frame(RST_KIND, 0, stream_id, bytes(4)) if is_reset else b""
        list(session.receive(request(stream_id) + end))
        session.send_head(stream_id, 200, [], is_last=True)
        session.take()


@pytest.mark.parametrize("name", ["connection", "keep-alive", "proxy-connection", "upgrade"])
def test_connection_specific_header_is_malformed(name: str) -> None:
    _, (event,) = opened(request(1, (name, "x")))

    assert isinstance(event, Reset)
    assert event.error_code == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "field",
    [
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("X", "y"),
        ("x", "a\r\nb"),
        ("x", "a\x01"),
        ("x", " a"),
        ("a b", "c"),
        ("", "c"),
        ("content-length", "x"),
        (":protocol", "websocket"),
    ],
)
def test_field_that_http2_forbids_is_malformed(field: tuple[str, str]) -> None:
    _, (event,) = opened(request(1, field))

    assert isinstance(event, Reset)
    assert event.error_code == PROTOCOL_ERROR


@pytest.mark.parametrize("body", [b"abcd", b"abcdef"])
def test_body_of_another_length_than_declared_is_malformed(body: bytes) -> None:
    head = request(1, ("content-length", "5"), flags=0x4)

    _, events = opened(head, frame(0x0, 1, 1, body))

    assert isinstance(events[-1], Reset)
    assert not [event for event in events if isinstance(event, Data) and event.end_stream]


def test_many_continuations_end_a_connection() -> None:
    session, _ = opened()

    with pytest.raises(Broken) as broken:
        list(session.receive(request(1, flags=1) + frame(CONTINUATION, 0, 1) * 20))

    assert broken.value.code == ENHANCE_YOUR_CALM


def test_header_bomb_ends_a_connection() -> None:
    encoder = hpack.Encoder()
    field = encoder.encode([*GET, ("x", "z" * 3_900)])
    session, _ = opened(frame(HEADERS, 5, 1, field))
    bomb = encoder.encode(GET) + b"\xbe" * 16_000

    with pytest.raises(Broken) as broken:
        list(session.receive(frame(HEADERS, 5, 3, bomb)))

    assert broken.value.code == ENHANCE_YOUR_CALM


# What goes out


def test_response_goes_out_as_far_as_there_is_room() -> None:
    session, _ = opened(frame(0x4, 0, 0, struct.pack(">HI", 4, 10)), request())
    assert session.room(1) == 10
    session.send_head(1, 200, [(b"x", b"y")], is_last=False)
    session.send_data(1, b"0123456789", is_last=False)
    assert session.room(1) == 0

    list(session.receive(frame(0x8, 0, 1, struct.pack(">I", 2))))

    assert session.room(1) == 2
    session.send_data(1, b"ab", is_last=True)
    assert session.take().endswith(frame(0x0, 0, 1, b"0123456789") + frame(0x0, 1, 1, b"ab"))
    assert session.room(1) == 0


def test_what_is_sent_on_a_stream_that_was_reset_is_dropped() -> None:
    session, _ = opened(request(), frame(RST_KIND, 0, 1, bytes(4)))

    session.send_head(1, 200, [], is_last=False)
    session.send_data(1, b"x", is_last=True)

    assert (session.room(1), session.take()) == (0, b"")


def test_goaway_has_two_steps() -> None:
    session, _ = opened(request())
    session.announce_end()
    assert session.take() == frame(GOAWAY_KIND, 0, 0, b"\x7f\xff\xff\xff" + bytes(4))
    assert [type(event) for event in session.receive(request(3))] == [Request]

    session.go_away(3, NO_ERROR)
    assert session.take() == frame(GOAWAY_KIND, 0, 0, struct.pack(">II", 3, 0))
    assert list(session.receive(request(5))) == []
    assert session.take() == b""


def test_reset_and_goaway_are_sent() -> None:
    session, _ = opened(request())
    session.reset(1, ENHANCE_YOUR_CALM)
    session.go_away(1, NO_ERROR)

    assert session.take() == (
        frame(RST_KIND, 0, 1, struct.pack(">I", ENHANCE_YOUR_CALM))
        + frame(GOAWAY_KIND, 0, 0, struct.pack(">II", 1, 0))
    )


# The heads of frames

SENT: list[Frame] = [(0x4, 0, 0), (0x1, 0x4, 3), (0x0, 0x1, 0), (0x0, 0, 20_000), (0xEE, 7, 1)]


@given(st.lists(st.integers(1, 40_000), max_size=20))
def test_frames_are_seen_in_any_pieces(cuts: list[int]) -> None:
    data = PREFACE + b"".join(frame(kind, flags, 1, bytes(size)) for kind, flags, size in SENT)
    frames, seen, start = Frames(), [], 0
    for end in [*sorted({cut for cut in cuts if cut < len(data)}), len(data)]:
        seen += frames.scan(data[start:end])
        start = end

    assert seen == SENT


@pytest.mark.parametrize(
    ("data", "is_in_head"),
    [
        (b"", False),
        (frame(HEADERS, END_HEADERS, 1, b"abc"), False),
        (frame(HEADERS, END_HEADERS, 1, b"abc")[:-1], True),
        (frame(HEADERS, 0, 1, b"abc"), True),
        (frame(HEADERS, 0, 1, b"abc") + frame(CONTINUATION, 0, 1), True),
        (frame(HEADERS, 0, 1, b"abc") + frame(CONTINUATION, END_HEADERS, 1), False),
        (frame(0x0, 0, 1, b"abc")[:-1], False),
    ],
)
def test_head_that_has_not_ended_is_seen(data: bytes, *, is_in_head: bool) -> None:
    frames = Frames()
    frames.scan(PREFACE + data)

    assert frames.is_in_head is is_in_head

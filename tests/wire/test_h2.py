"""Frames are seen in any pieces, and the limits of zttp are where our own expect them."""

import struct

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.floods import CONTINUATION, END_HEADERS, HEADERS, Frame
from gateway.wire.h2 import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    Broken,
    Data,
    EndOfMessage,
    Event,
    Frames,
    GoAway,
    Request,
    RstStream,
    Session,
    Settings,
    Unsendable,
    WindowUpdate,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/a?b")]
PING_KIND, GOAWAY_KIND, RST_KIND = 0x6, 0x7, 0x3


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
    assert (event.method, event.target, event.end_stream) == (b"GET", b"/a?b", True)
    assert list(event.headers) == [(b"x", b"y"), (b"host", b"a")]


def test_everything_else_is_told() -> None:
    _, events = opened(
        request(1, flags=0x4),
        frame(0x0, 0, 1, b"abc"),
        frame(0x0, 1, 1),
        frame(0x8, 0, 0, b"\0\0\0\1"),
        request(3),
        frame(0x3, 0, 3, b"\0\0\0\x08"),
        frame(0x7, 0, 0, bytes(8)),
    )

    told = [Request, Data, EndOfMessage, WindowUpdate, Request, RstStream, GoAway]
    assert [type(event) for event in events] == told


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

    with pytest.raises(Broken):
        list(session.receive(frame(0x8, 0, 0, bytes(4))))

    assert kinds(session.take()) == [GOAWAY_KIND]


# Facts of zttp that limits of ours rest on


def test_preface_allows_128_streams_and_no_extended_connect() -> None:
    data = Session().preface()

    payload = data[9:]
    settings = dict(struct.iter_unpack(">HI", payload))
    assert data[:9] == frame(0x4, 0, 0, payload)[:9]
    assert settings[3] == 128
    assert settings[6] == 64 * 1024
    assert 8 not in settings


def test_stream_over_128_is_refused() -> None:
    _, events = opened(*[request(1 + 2 * count) for count in range(129)])

    refused = events.pop()
    assert all(isinstance(event, Request) for event in events)
    assert isinstance(refused, RstStream)
    assert refused.error_code == 7


@pytest.mark.parametrize("count", [4_096, 4_097])
def test_stream_4097_ends_a_connection(count: int) -> None:
    session, _ = opened()
    broken = False
    for index in range(count):
        stream_id = 1 + 2 * index
        try:
            list(session.receive(request(stream_id)))
        except Broken:
            broken = True
            break
        session.send_head(stream_id, 200, [], is_last=True)
        session.take()

    assert broken is (count > 4_096)


@pytest.mark.parametrize("count", [256, 257])
def test_reset_257_ends_a_connection(count: int) -> None:
    session, _ = opened()
    broken = False
    for index in range(count):
        stream_id = 1 + 2 * index
        try:
            list(session.receive(request(stream_id) + frame(RST_KIND, 0, stream_id, bytes(4))))
        except Broken:
            broken = True

    assert broken is (count > 256)


@pytest.mark.parametrize("name", ["connection", "keep-alive", "proxy-connection", "upgrade"])
def test_connection_specific_header_is_malformed(name: str) -> None:
    _, (event,) = opened(request(1, (name, "x")))

    assert isinstance(event, RstStream)


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
        ("host", "b"),
        ("content-length", "x"),
    ],
)
def test_field_that_http2_forbids_is_malformed(field: tuple[str, str]) -> None:
    _, (event,) = opened(request(1, field))

    assert isinstance(event, RstStream)


@pytest.mark.parametrize("body", [b"abcd", b"abcdef"])
def test_body_of_another_length_than_declared_is_malformed(body: bytes) -> None:
    head = request(1, ("content-length", "5"), flags=0x4)

    _, events = opened(head, frame(0x0, 1, 1, body))

    assert isinstance(events[-1], RstStream)
    assert not [event for event in events if isinstance(event, EndOfMessage)]


def test_many_continuations_end_a_connection() -> None:
    session, _ = opened()

    with pytest.raises(Broken):
        list(session.receive(request(1, flags=1) + frame(CONTINUATION, 0, 1) * 20))


def test_header_bomb_ends_a_connection() -> None:
    session, _ = opened(request(1, ("x", "z" * 4_000)))
    bomb = hpack.Encoder().encode(GET) + b"\xbe" * 16_000

    with pytest.raises(Broken):
        list(session.receive(frame(HEADERS, 5, 3, bomb)))


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
    pieces = (b"0123456789", b"ab")
    sent = b"".join(frame(0x0, 0, 1, piece) for piece in pieces) + frame(0x0, 1, 1)
    assert session.take().endswith(sent)
    assert session.room(1) == 0


@pytest.mark.parametrize("header", [(b"X", b"a"), (b"x", b"a\r\nb"), (b"connection", b"close")])
def test_header_that_http2_forbids_is_not_sent(header: tuple[bytes, bytes]) -> None:
    session, _ = opened(request())

    with pytest.raises(Unsendable):
        session.send_head(1, 200, [header], is_last=True)


def test_data_of_a_stream_that_was_reset_is_not_sent() -> None:
    session, _ = opened(request(), frame(RST_KIND, 0, 1, bytes(4)))

    with pytest.raises(Unsendable):
        session.send_data(1, b"x", is_last=True)


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

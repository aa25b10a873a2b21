"""Requests from bytes in any pieces, and the head of every golden reply as bytes."""

import tracemalloc
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import BadFunctionResponse
from gateway.core.http import HttpRequest, HttpResponse, wishes_close
from gateway.wire.h1 import RequestParser, Unparsable, response_head, status_line
from tests.core.test_alb_reply import DATE, decoded
from tests.golden import Case, cases, expanded

GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
SIZED = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"


def parsed(head: bytes) -> RequestParser:
    parser = RequestParser()
    parser.feed_head(head)
    return parser


def test_head_is_read_as_it_was_written() -> None:
    parser = parsed(
        b"GET /a%2F?b HTTP/1.1\r\nHost: A\r\nX-Ab:\t c  d\t \r\nx-aB: \xe4\r\nY:\r\n\r\n"
    )

    assert (parser.method, parser.target, parser.version) == (b"GET", b"/a%2F?b", "1.1")
    assert parser.headers == [
        (b"Host", b"A"),
        (b"X-Ab", b"c  d"),
        (b"x-aB", b"\xe4"),
        (b"Y", b""),
    ]


def test_request_without_a_body_is_complete_with_its_head() -> None:
    parser = parsed(GET)

    assert parser.is_complete
    assert (parser.body_bytes, parser.take_body()) == (0, b"")


@pytest.mark.parametrize("head", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_request_with_a_body_is_not_complete_with_its_head(head: bytes) -> None:
    assert not parsed(head).is_complete


def test_empty_body_with_a_length_is_complete_with_its_head() -> None:
    assert parsed(SIZED.replace(b"5", b"0")).is_complete


WISHES = [
    b"close",
    b"Close",
    b"x, close",
    b"close ,x",
    b"\tclose\t",
    b"keep-alive",
    b"Keep-Alive, x",
    b"keep-alive, close",
    b"closed",
    b"x",
    b"",
]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("wish", [None, *WISHES])
def test_client_is_kept_or_not_as_it_wishes(wish: bytes | None, version: str) -> None:
    line = b"" if wish is None else b"Connection:" + wish + b"\r\n"
    parser = parsed(b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version.encode(), line))
    request = HttpRequest("GET", b"/", b"/", b"", parser.headers, http_version=version)

    assert parser.version == version
    assert parser.keeps_alive is not wishes_close(request)


@pytest.mark.parametrize("head", [GET, SIZED, CHUNKED], ids=["none", "sized", "chunked"])
def test_wish_to_close_is_known_before_the_body(head: bytes) -> None:
    assert parsed(head).keeps_alive
    assert not parsed(head.replace(b"Host", b"Connection: close\r\nHost")).keeps_alive


@pytest.mark.parametrize(
    "head",
    [
        b"GET\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        b"POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"M-SEARCH / HTTP/1.1\r\nHo st: a\r\n\r\n",
    ],
)
def test_what_is_refused_leaves_a_parser_fit_for_use(head: bytes) -> None:
    parser = RequestParser()
    with pytest.raises(Unparsable):
        parser.feed_head(head)

    parser.feed_head(GET)

    assert parser.is_complete
    assert parser.headers == [(b"Host", b"a")]


def test_upgrade_is_told_and_leaves_a_parser_fit_for_use() -> None:
    parser = parsed(GET.replace(b"Host", b"Upgrade: h2c\r\nConnection: upgrade\r\nHost"))

    assert parser.is_upgrade
    assert parser.headers[0] == (b"Upgrade", b"h2c")

    parser.feed_head(GET)

    assert parser.is_complete
    assert not parser.is_upgrade


def test_requests_on_one_parser_leave_nothing_to_the_next() -> None:
    parser = parsed(CHUNKED.replace(b"Host", b"X: y\r\nHost"))
    parser.feed_chunked(b"3\r\nabc\r\n0\r\nT: u\r\nV: w\r\n\r\n")

    parser.feed_head(b"POST /b HTTP/1.0\r\nHost: b\r\nContent-Length: 1\r\n\r\n")

    assert not parser.is_complete
    assert (parser.method, parser.target, parser.version) == (b"POST", b"/b", "1.0")
    assert parser.headers == [(b"Host", b"b"), (b"Content-Length", b"1")]
    assert (parser.body_bytes, parser.keeps_alive) == (0, False)
    parser.feed_sized(b"x")
    assert parser.take_body() == b"x"


# Bodies with a length


@pytest.mark.parametrize("pieces", [[b"hello"], [b"he", b"llo"], [b"h", b"e", b"l", b"l", b"o"]])
def test_body_with_a_length_is_read_in_any_pieces(pieces: list[bytes]) -> None:
    parser = parsed(SIZED)
    for piece in pieces:
        assert not parser.is_complete
        parser.feed_sized(piece)

    assert parser.is_complete
    assert parser.body_bytes == 5
    body = parser.take_body()
    assert (type(body), body) == (bytes, b"hello")


def test_body_can_be_taken_once() -> None:
    parser = parsed(SIZED)
    parser.feed_sized(b"hello")
    parser.take_body()

    assert (parser.body_bytes, parser.take_body()) == (0, b"")


def test_bytes_behind_a_body_with_a_length_are_refused() -> None:
    parser = parsed(SIZED)
    with pytest.raises(Unparsable):
        parser.feed_sized(b"hello, world")

    parser.feed_head(GET)

    assert parser.is_complete


def test_body_in_tiny_pieces_takes_about_its_own_memory() -> None:
    size = 200_000
    parser = parsed(SIZED.replace(b"5", b"%d" % size))
    tracemalloc.start()
    try:
        for _ in range(size // 2):
            parser.feed_sized(b"xy")
        assert tracemalloc.get_traced_memory()[1] < 1.5 * size
    finally:
        tracemalloc.stop()


# Chunked bodies


def splits(data: bytes, cuts: tuple[int, ...]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise((0, *cuts, len(data)))]


def feed_all(parser: RequestParser, pieces: list[bytes]) -> None:
    for piece in pieces:
        parser.feed_chunked(piece)


def read_chunked(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Return the body and what follows it."""
    parser = parsed(CHUNKED)
    rest = b""
    for piece in pieces:
        rest += piece if parser.is_complete else parser.feed_chunked(piece)
    assert parser.is_complete
    assert parser.headers == [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]
    return parser.take_body(), rest


BODIES = {
    b"0\r\n\r\n": b"",
    b"5\r\nhello\r\n0\r\n\r\n": b"hello",
    b"5\r\nhello\r\n00000\r\n\r\n": b"hello",
    b"A;a=b;c\r\n0123456789\r\n1\r\nx\r\n0;d\r\n\r\n": b"0123456789x",
    b"4\r\n\r\n\r\n\r\n0\r\n\r\n": b"\r\n\r\n",
    b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n": b"\r\n\r\n\r\n\r\n",
    b"2\r\n\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n": b"\r\n\r\n",
    b"7\r\n\n\r\n\r\n\r\n\r\n0\r\n\r\n": b"\n\r\n\r\n\r\n",
    b"5\r\n0\r\n\r\n\r\n0\r\n\r\n": b"0\r\n\r\n",
    b"1\r\nx\r\n0\r\nA: b\r\n\r\n": b"x",
    b"1\r\nx\r\n0\r\nHost: c\r\nContent-Type: d\r\nE:\r\n\r\n": b"x",
    b"1\r\nx\r\n0\r\nConnection: close\r\n\r\n": b"x",
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(CANARY), CANARY): CANARY,
}


@pytest.mark.parametrize("raw", BODIES, ids=ascii)
def test_chunked_body_ends_where_it_ends_whole_or_byte_by_byte(raw: bytes) -> None:
    data = raw + CANARY

    assert read_chunked([data]) == (BODIES[raw], CANARY)
    assert read_chunked(splits(data, tuple(range(1, len(data))))) == (BODIES[raw], CANARY)


@pytest.mark.parametrize("raw", BODIES, ids=ascii)
def test_chunked_body_ends_where_it_ends_in_any_three_pieces(raw: bytes) -> None:
    data = raw + b"GET"

    for cuts in combinations(range(1, len(data)), 2):
        assert read_chunked(splits(data, cuts)) == (BODIES[raw], b"GET")


TRAILERS = st.lists(
    st.from_regex(rb"X-[A-Za-z]{0,4}:[ \ta-z]{0,6}", fullmatch=True), max_size=3
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b"', b";a;b=c"])
DATA = st.lists(st.sampled_from([b"\r\n\r\n", b"\r\n", b"\r", b"\n", b"0", b"x", CANARY])).map(
    b"".join
)


@given(
    chunks=st.lists(st.tuples(DATA | st.binary(max_size=20), EXTENSIONS), max_size=6),
    last=EXTENSIONS,
    trailers=TRAILERS,
    cuts=st.sets(st.integers(1, 300), max_size=8),
)
def test_any_chunked_body_comes_back_and_nothing_behind_it_is_read(
    chunks: list[tuple[bytes, bytes]], last: bytes, trailers: bytes, cuts: set[int]
) -> None:
    pieces = [
        b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk, extension in chunks if chunk
    ]
    data = b"".join([*pieces, b"0", last, b"\r\n", trailers, b"\r\n", CANARY])
    inside = tuple(sorted(cut for cut in cuts if cut < len(data)))

    assert read_chunked(splits(data, inside)) == (b"".join(c for c, _ in chunks), CANARY)


@pytest.mark.parametrize(
    "raw",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\nx\r\n0\r\n\r\n",
        b"0x1\r\nx\r\n0\r\n\r\n",
        b" 1\r\nx\r\n0\r\n\r\n",
        b"1 \r\nx\r\n0\r\n\r\n",
        b"1\nx\r\n0\r\n\r\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nxy\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"0\n\r\n",
        b"0\r\n\n",
        b"0\r\n\rX\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA b\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b'1;"\r\n\r\n"\r\nx\r\n0\r\n\r\n',
        b"1;a\n\r\n\r\nx\r\n0\r\n\r\n",
        b"10000000000000000\r\n",
    ],
    ids=ascii,
)
def test_chunks_that_a_peer_could_read_otherwise_are_refused(raw: bytes) -> None:
    for pieces in ([raw + CANARY], splits(raw + CANARY, tuple(range(1, len(raw + CANARY))))):
        parser = parsed(CHUNKED)

        with pytest.raises(Unparsable):
            feed_all(parser, pieces)

        assert parser.target == b"/a"


def test_parser_is_fit_for_use_after_chunks_that_were_refused() -> None:
    parser = parsed(CHUNKED)
    with pytest.raises(Unparsable):
        parser.feed_chunked(b"5\r\n\r\n\r\n\r\r\n\r\n")

    parser.feed_head(CHUNKED)
    rest = parser.feed_chunked(b"\r\n0\r\n\r\n"[2:] + CANARY)

    assert (parser.is_complete, rest) == (True, CANARY)


# Responses


def test_reason_and_status_are_in_the_status_line() -> None:
    assert status_line(204, "No Content") == b"HTTP/1.1 204 No Content\r\n"
    assert status_line(460, "") == b"HTTP/1.1 460 \r\n"
    assert status_line(200, "K\xe4se") == "HTTP/1.1 200 Käse\r\n".encode()


def test_response_without_headers_ends_its_status_line_and_its_head() -> None:
    response = HttpResponse(204, "No Content", [])

    head = response_head(response, date=DATE, connection=b"close")

    assert head == b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def decodable(case: Case) -> bool:
    try:
        decoded(case)
    except BadFunctionResponse:
        return False
    return True


@pytest.mark.parametrize(
    "case", [case for case in cases("reply") if decodable(case)], ids=lambda case: case.name
)
def test_golden_reply_keeps_names_and_order_on_the_wire(case: Case) -> None:
    expected = expanded(case.expected).partition("\n\n")[0]

    head = response_head(decoded(case), date=DATE, connection=b"keep-alive")

    assert head.decode() == expected.replace("\n", "\r\n") + "\r\n\r\n"

"""Every size that a connection limits, just below, at and just above its value."""

from dataclasses import replace

import pytest

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.limits import (
    CHUNKED_OVERHEAD_BYTES,
    CHUNKED_STEP,
    Limits,
    Phase,
)
from tests.web.peer import CANARY, GET, Held, Serve, chunked, phase, post

LIMITS = Limits()
LINE = LIMITS.line_bytes
HEAD = LIMITS.head_bytes


def request_line(size: int, end: bytes = b"\r\n") -> bytes:
    """A request line of this size, its end counted."""
    return b"GET /".ljust(size - len(b" HTTP/1.1" + end), b"a") + b" HTTP/1.1" + end


def header_line(size: int, end: bytes = b"\r\n") -> bytes:
    return b"X:".ljust(size - len(end), b"a") + end


def head(size: int) -> bytes:
    """A head of this size without a long line."""
    begin = b"GET / HTTP/1.1\r\nHost: a\r\n"
    lines = (size - len(begin) - 2) // 640
    rest = size - len(begin) - 2 - lines * 640
    if 0 < rest < 4:
        lines, rest = lines - 1, rest + 640
    return begin + lines * header_line(640) + (header_line(rest) if rest else b"") + b"\r\n"


HOST = b"Host: a\r\n\r\n"


# Heads


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(("size", "status"), [(LINE - 1, 200), (LINE, 200), (LINE + 1, 414)])
def test_request_line_counts_with_its_end(serve: Serve, size: int, status: int, end: bytes) -> None:
    peer = serve().exchange(request_line(size, end) + HOST + CANARY)

    assert peer.statuses[0] == status
    assert len(peer.statuses) == (2 if status == 200 else 1)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(("size", "status"), [(LINE - 1, 200), (LINE, 200), (LINE + 1, 400)])
def test_header_line_counts_with_its_end(serve: Serve, size: int, status: int, end: bytes) -> None:
    peer = serve().exchange(b"GET / HTTP/1.1\r\n" + header_line(size, end) + HOST + CANARY)

    assert peer.statuses[0] == status
    assert len(peer.statuses) == (2 if status == 200 else 1)


@pytest.mark.parametrize(("size", "status"), [(HEAD - 1, 200), (HEAD, 200), (HEAD + 1, 400)])
def test_head_counts_as_a_whole(serve: Serve, size: int, status: int) -> None:
    assert len(head(size)) == size

    peer = serve().exchange(head(size) + CANARY)

    assert peer.statuses[0] == status
    assert len(peer.statuses) == (2 if status == 200 else 1)


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (request_line(LINE + 1)[: LINE - 1], 0),
        (request_line(LINE + 1)[:LINE], 414),
        (b"GET / HTTP/1.1\r\n" + header_line(LINE + 1)[: LINE - 1], 0),
        (b"GET / HTTP/1.1\r\n" + header_line(LINE + 1)[:LINE], 400),
        (b"GET / HTTP/1.1\r\n" + header_line(LINE + 1) + b"X", 400),
        (request_line(LINE + 1) + b"X", 414),
        (b"\n" + request_line(LINE + 1)[:LINE], 414),
        (head(HEAD + 1)[: HEAD - 1], 0),
        (head(HEAD + 1)[:HEAD], 400),
    ],
)
@pytest.mark.parametrize("is_trickled", [False, True])
def test_head_that_cannot_end_within_the_limits_is_refused_before_its_end(
    serve: Serve, begin: bytes, status: int, is_trickled: bool
) -> None:
    pieces = [begin[at : at + 997] for at in range(0, len(begin), 997)] if is_trickled else [begin]

    peer = serve().exchange(*pieces)

    assert peer.statuses == ([status] if status else [])


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n", b"\r\n\r\n"])
@pytest.mark.parametrize("is_trickled", [False, True])
def test_a_line_is_measured_the_same_behind_empty_ones(
    serve: Serve, before: bytes, is_trickled: bool
) -> None:
    lines = {
        b"GET /".ljust(LIMITS.line_bytes - len(b"\r\n"), b"a") + b"\r\n": [],
        b"GET /".ljust(LIMITS.line_bytes, b"a"): [414],
        b"GET / HTTP/1.1\r\n" + b"X: ".ljust(LIMITS.line_bytes, b"a"): [400],
    }
    for line, statuses in lines.items():
        begin = before + line
        pieces = [begin[at : at + 997] for at in range(0, len(begin), 997)]

        assert serve().exchange(*(pieces if is_trickled else [begin])).statuses == statuses


FIELDS = LIMITS.header_fields


def fields(count: int, end: bytes = b"\r\n") -> bytes:
    """A head of this many fields, as small as can be."""
    return b"GET / HTTP/1.1\r\nHost:a\r\n" + (count - 1) * (b"X:" + end) + b"\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("before", [b"", b"\r\n", b"\n"])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_fields_of_a_head_are_counted(serve: Serve, over: int, before: bytes, end: bytes) -> None:
    world = serve()

    peer = world.exchange(before + fields(FIELDS + over, end) + CANARY)

    assert peer.statuses[0] == (400 if over > 0 else 200)
    assert len(peer.statuses) == (1 if over > 0 or before else 2)  # MissingUri closes
    if over <= 0:
        assert len(world.requests[0].headers) == FIELDS + over


def test_fields_are_counted_in_a_large_head_too(serve: Serve) -> None:
    begin = b"GET / HTTP/1.1\r\n" + header_line(LINE) + b"Host: a\r\n"

    served = serve().exchange(begin + (FIELDS - 2) * b"X:\r\n" + b"\r\n")
    refused = serve().exchange(begin + (FIELDS - 1) * b"X:\r\n" + b"\r\n")

    assert (served.statuses, refused.statuses) == ([200], [400])


@pytest.mark.parametrize("size", [1, 97, 5000])
def test_head_with_too_many_fields_is_refused_before_its_end(serve: Serve, size: int) -> None:
    begin = fields(2000)[:-2]

    peer = serve().exchange(*[begin[at : at + size] for at in range(0, len(begin), size)])

    assert peer.statuses == [400]


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_trailers_are_counted_as_fields_are(serve: Serve, over: int) -> None:
    body = b"1\r\nx\r\n0\r\n" + (FIELDS + over) * b"X:\r\n" + b"\r\n"
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

    peer = serve().exchange(head + body + CANARY)

    assert peer.statuses == ([400] if over > 0 else [200, 200])


def test_number_of_fields_can_be_set(serve: Serve) -> None:
    few = replace(LIMITS, header_fields=2)

    assert serve(limits=few).exchange(fields(2)).statuses == [200]
    assert serve(limits=few).exchange(fields(3)).statuses == [400]


def test_refusal_says_how_large_the_head_was(serve: Serve) -> None:
    world = serve()

    world.exchange(head(HEAD + 1))
    world.exchange(head(HEAD + 1)[:HEAD])

    details = [notice.response.forwarding.detail for notice in world.served]
    assert "65537 bytes" in details[0]
    assert "65536 bytes" in details[1]


# Bodies


@pytest.mark.parametrize(
    ("size", "status"),
    [(REQUEST_BODY_LIMIT - 1, 200), (REQUEST_BODY_LIMIT, 200), (REQUEST_BODY_LIMIT + 1, 413)],
)
@pytest.mark.parametrize("make", [post, chunked], ids=["sized", "chunked"])
def test_body_of_one_megabyte_is_the_largest(
    serve: Serve, make: object, size: int, status: int
) -> None:
    assert callable(make)
    world = serve()

    peer = world.exchange(make(size * b"x") + CANARY)

    assert peer.statuses[0] == status
    assert len(peer.statuses) == (2 if status == 200 else 1)
    assert world.served[0].response.forwarding.error_reason == (
        "LambdaRequestTooLarge" if status == 413 else ""
    )


def test_body_that_says_that_it_is_too_large_is_refused_before_it_comes(serve: Serve) -> None:
    peer = serve().exchange(post((REQUEST_BODY_LIMIT + 1) * b"x").partition(b"x")[0])

    assert peer.statuses == [413]
    assert peer.is_half_closed


def test_chunked_body_that_is_too_large_is_refused_while_it_comes(serve: Serve) -> None:
    peer = serve().exchange(chunked(REQUEST_BODY_LIMIT * b"x", end=b"5\r\nx"))

    assert peer.statuses == [413]
    assert peer.is_half_closed


def test_size_of_a_body_comes_before_its_faults(serve: Serve) -> None:
    """However it is cut: its last good byte comes before the first bad one."""
    data = chunked((REQUEST_BODY_LIMIT + 1) * b"x", end=b"bad")

    assert serve().exchange(data).statuses == [413]
    assert serve().exchange(data[:-4], data[-4:]).statuses == [413]


def padded(decoded: int, raw: int) -> bytes:
    """A chunked body of these sizes, the difference in an extension of its first chunk."""
    chunk = b"%x;" % decoded
    rest = b"\r\n" + decoded * b"x" + b"\r\n0\r\n\r\n"
    return chunk.ljust(raw - len(rest), b"a") + rest


@pytest.mark.parametrize("decoded", [1, 40_000, 1_000_000])
@pytest.mark.parametrize(("more", "status"), [(-1, 200), (0, 200), (1, 400)])
def test_what_surrounds_a_chunked_body_is_bounded(
    serve: Serve, decoded: int, more: int, status: int
) -> None:
    budget = CHUNKED_OVERHEAD_BYTES - 2 * CHUNKED_STEP  # looked at on the way, too
    raw = int(1.5 * decoded) + CHUNKED_OVERHEAD_BYTES if decoded == 1 else decoded + budget
    if decoded == 1:
        body = padded(decoded, raw + more)
    else:
        trailers = int(1.5 * decoded) + CHUNKED_OVERHEAD_BYTES + more - len(padded(decoded, raw))
        line = b"X:".ljust(trailers - 2, b"a") + b"\r\n"
        body = padded(decoded, raw)[:-2] + line + b"\r\n"
    assert len(body) == int(1.5 * decoded) + CHUNKED_OVERHEAD_BYTES + more

    peer = serve().exchange(chunked(end=body))

    assert peer.statuses == [status]


@pytest.mark.parametrize(
    "begin", [b"1;", b"1\r\nx\r\n0\r\nX:", b"1\r\nx\r\n0;"], ids=["extension", "trailer", "last"]
)
def test_padding_without_an_end_is_refused_soon(serve: Serve, begin: bytes) -> None:
    world = serve()
    most = CHUNKED_OVERHEAD_BYTES + CHUNKED_STEP + 2
    peer = world.exchange(chunked(end=begin))

    sent = 0
    while phase(peer) is Phase.BODY:
        peer.send(1000 * b"a")
        sent += 1000
    world.turn()

    assert CHUNKED_OVERHEAD_BYTES - CHUNKED_STEP < sent <= most + 1000
    assert peer.statuses == [400]


def test_chunks_of_one_byte_are_allowed_up_to_the_documented_number(serve: Serve) -> None:
    assert serve().exchange(chunked(*14_562 * [b"x"])).statuses == [200]
    assert serve().exchange(chunked(*14_563 * [b"x"])).statuses == [400]


# What is kept of further requests


@pytest.mark.parametrize(("more", "is_paused"), [(-1, False), (0, False), (1, True)])
def test_reading_pauses_above_the_limit_and_goes_on_with_the_answer(
    serve: Serve, more: int, is_paused: bool
) -> None:
    held = Held()
    world = serve(held)
    further = CANARY * 3
    size = LIMITS.pipelined_bytes + more
    peer = world.exchange(GET, further.ljust(size, b"\n"))

    assert peer.is_reading_paused is is_paused
    for _ in range(4):
        held.release()
        world.turn()
    assert not peer.is_reading_paused
    assert peer.statuses == 4 * [200]


def test_reading_pauses_for_bytes_that_came_with_the_request(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=replace(LIMITS, pipelined_bytes=len(CANARY)))

    peer = world.exchange(GET + CANARY + CANARY)

    assert peer.is_reading_paused
    peer.send(CANARY)
    for count in range(4):
        held.release()
        world.turn()
        assert len(peer.replies) == count + 1
    assert not peer.is_reading_paused


def test_nothing_is_read_while_reading_is_paused(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=replace(LIMITS, pipelined_bytes=1))

    peer = world.exchange(GET, CANARY, CANARY)

    assert bytes(peer.connection._buffer) == CANARY


def test_head_larger_than_what_is_kept_of_further_requests_is_still_read(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=replace(LIMITS, pipelined_bytes=5))
    world.exchange(GET, CANARY[:20], CANARY[20:])

    held.release()
    world.turn()

    assert len(held.requests) == 2


def test_body_larger_than_what_is_kept_of_further_requests_is_still_read(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=replace(LIMITS, pipelined_bytes=5))
    world.exchange(GET, post(b"0123456789")[:-1], b"9")

    held.release()
    world.turn()

    assert held.requests[1].body == b"0123456789"


def test_client_that_had_gone_before_it_was_accepted_is_not_counted(serve: Serve) -> None:
    """The system has forgotten its address, and it must not pass for this machine."""
    world = serve()

    peer = world.connect(client=None)
    peer.send(GET)
    world.turn()

    assert peer.is_aborted
    assert world.requests == []
    assert world.front.members.connections == set()


@pytest.mark.parametrize("name", [None, ""])
def test_client_of_a_unix_socket_has_no_address_and_is_served(
    serve: Serve, name: str | None
) -> None:
    world = serve()

    peer = world.connect(client=name, server="/run/gateway.sock")
    peer.send(GET)
    world.turn()

    assert world.asked.client == ("127.0.0.1", 0)

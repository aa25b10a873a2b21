"""Bodies of HTTP/1 requests, Expect, and requests of one piece."""

import pytest

from gateway.core.limits import Phase
from tests.web.peer import CANARY, GET, Held, Serve, chunked, phase, post

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# Bodies


def test_body_with_a_length_comes_in_any_pieces(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(*[bytes([byte]) for byte in post(b"hello")])

    assert world.asked.body == b"hello"
    assert peer.statuses == [200]


def test_chunked_body_arrives_whole_and_without_its_trailers(serve: Serve) -> None:
    world = serve()
    data = chunked(b"he", b"llo", end=b"0\r\nHost: b\r\nX: y\r\n\r\n")

    world.exchange(data)

    assert world.asked.body == b"hello"
    assert world.asked.headers == [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]
    assert world.asked.received_bytes == len(data)


def test_trailers_do_not_decide_about_the_connection(serve: Serve) -> None:
    peer = serve().exchange(chunked(b"x", end=b"0\r\nConnection: close\r\n\r\n"), GET)

    assert [reply.headers["Connection"] for reply in peer.replies] == 2 * ["keep-alive"]


def test_empty_bodies_are_complete_with_their_head(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(post(b""), chunked(), GET)

    assert [request.body for request in world.requests] == [b"", b"", b""]
    assert peer.statuses == [200, 200, 200]


def test_length_with_very_many_zeros_is_still_a_length(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: " + 5000 * b"0" + b"1\r\n\r\nx" + GET
    )

    assert [request.body for request in world.requests] == [b"x", b""]
    assert peer.statuses == [200, 200]


@pytest.mark.parametrize(
    "body", [b"x\r\n\r\n", b"1\r\nxx\r\n0\r\n\r\n", b"0\n\r\n", b"0\r\nContent-Length: 1\r\n\r\n"]
)
def test_chunks_that_cannot_be_framed_are_refused_and_nothing_behind_them_is_read(
    serve: Serve, body: bytes
) -> None:
    world = serve()

    peer = world.exchange(chunked(end=body) + CANARY, CANARY)

    assert world.requests == []
    assert peer.statuses == [400]
    assert peer.is_half_closed
    (notice,) = world.served
    assert (notice.request.method, notice.request.target) == ("POST", b"/a")
    assert "cannot be framed" in notice.response.forwarding.detail


def test_idle_connection_keeps_nothing_of_its_last_body(serve: Serve) -> None:
    peer = serve().exchange(post(b"hello"))

    assert not hasattr(peer.connection, "_request")
    assert peer.connection._parser.body_bytes == 0


# Expect


def test_client_that_waits_is_told_to_go_on_at_once(serve: Serve) -> None:
    world = serve()
    head, _, body = post(b"hello", b"Expect: 100-Continue").partition(b"\r\n\r\n")

    peer = world.exchange(head + b"\r\n\r\n")

    assert peer.received == CONTINUE
    peer.send(body)
    world.turn()
    assert peer.statuses == [100, 200]


EXPECT = b"Expect: 100-continue"


@pytest.mark.parametrize(
    "request_",
    [
        GET.replace(b"Host", EXPECT + b"\r\nHost"),
        GET.replace(b"Host", EXPECT + b"\r\nHost").replace(b"GET", b"HEAD"),
        GET.replace(b"Host", EXPECT + b"\r\nHost").replace(b"1.1", b"1.2"),
        GET.replace(b"Host", b"Content-Length: 0\r\n" + EXPECT + b"\r\nHost"),
        post(b"", EXPECT),
        post(b"x", EXPECT),
        post(b"x", EXPECT.upper()),
        post(b"x", EXPECT, EXPECT),
        post(b"x", b"Expect: something", EXPECT),
        post(b"x", EXPECT, b"Expect: something"),
        post(b"x", b"Expect: something ,\t100-Continue"),
        chunked(b"x").replace(b"Host", EXPECT + b"\r\nHost"),
    ],
    ids=ascii,
)
def test_client_that_expects_100_gets_one_whatever_the_body(serve: Serve, request_: bytes) -> None:
    """Java's HttpClient waits for it before GET, too, and without it never goes on."""
    assert serve().exchange(request_).received.startswith(CONTINUE + b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_",
    [
        GET.replace(b"Host", EXPECT + b"\r\nHost").replace(b"1.1", b"1.0"),
        post(b"x", EXPECT, version=b"1.0"),
        post(b"x", b"Expect: something"),
        post(b"x", b"Expect: 100"),
        post(b"x", b"Expect: 100-continued"),
        post(b"x", b"Expect: 100-continue;q=1"),
        post(b"x", b"Expect:"),
        post(b"x", b"X: 100-continue"),
        post(b"x"),
    ],
    ids=ascii,
)
def test_no_other_client_gets_a_100(serve: Serve, request_: bytes) -> None:
    assert serve().exchange(request_).statuses == [200]


def test_every_request_of_one_piece_gets_its_100_in_its_turn(serve: Serve) -> None:
    peer = serve().exchange(post(b"x", EXPECT) + GET + post(b"", EXPECT))

    assert peer.statuses == [100, 200, 200, 100, 200]


@pytest.mark.parametrize("length", [1048577, 2**62])
def test_the_length_is_judged_after_the_100(serve: Serve, length: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"

    assert serve().exchange(head % length).statuses == [100, 413]


def test_head_that_is_refused_gets_no_100(serve: Serve) -> None:
    world = serve()

    assert world.exchange(post(b"x", EXPECT, b"Host: b")).statuses == [400]
    assert world.exchange(post(b"x", EXPECT, b"Transfer-Encoding: gzip")).statuses == [501]


# Pipelining


def test_requests_of_one_piece_are_answered_in_order(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(GET + post(b"xy") + chunked(b"xyz") + CANARY)
    world.turn(16)

    assert [reply.body for reply in peer.replies] == [
        b"GET /a? 0",
        b"POST /a? 2",
        b"POST /a? 3",
        b"GET /canary? 0",
    ]


def test_responder_gets_one_request_at_a_time(serve: Serve) -> None:
    held = Held()
    world = serve(held)

    peer = world.exchange(GET + GET, GET, post(b"x")[:-1])

    for count in (1, 2, 3):
        assert len(held.requests) == count
        assert len(peer.replies) == count - 1
        held.release()
        world.turn()
    assert phase(peer) is Phase.BODY
    peer.send(b"x")
    world.turn()
    held.release()
    world.turn()
    assert peer.statuses == 4 * [200]


def test_request_behind_one_that_closes_is_never_answered(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + CANARY, CANARY
    )

    assert [request.raw_path for request in world.requests] == [b"/a"]
    assert peer.is_half_closed

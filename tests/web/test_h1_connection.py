"""What a client gets for its bytes: requests in every form, refusals, and what follows them.

Limits are in test_connection_limits.py, clients that leave or do not read in
test_connection_leaving.py, bytes in any pieces in test_connection_pieces.py.
"""

import json
from typing import Any

import pytest

from gateway.core.http import HttpRequest
from gateway.core.limits import Phase
from gateway.core.pages import Pages
from tests.web.peer import (
    CANARY,
    CLIENT,
    DATE,
    GET,
    SERVER,
    START,
    Held,
    Peer,
    Serve,
    Telling,
    answer,
    balancer,
    chunked,
    phase,
    post,
)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# One request


def test_request_reaches_the_responder_as_it_was_sent(serve: Serve) -> None:
    world = serve()
    head = b"POST /a%2F?b=c HTTP/1.1\r\nHost: A\r\nX-y:  z \r\nContent-Length: 5\r\n\r\n"

    world.exchange(head + b"hello")

    assert world.asked == HttpRequest(
        "POST",
        b"/a%2F?b=c",
        b"/a%2F",
        b"b=c",
        [(b"Host", b"A"), (b"X-y", b"z"), (b"Content-Length", b"5")],
        b"hello",
        client=CLIENT,
        server=SERVER,
        scheme="http",
        http_version="1.1",
        arrived_at=START,
        received_bytes=len(head) + 5,
        connection_id=32 * "0",
        classification="",
    )


def test_response_is_written_as_the_load_balancer_writes_it(serve: Serve) -> None:
    peer = serve().exchange(GET)

    assert peer.received == (
        b"HTTP/1.1 200 OK\r\nServer: awselb/2.0\r\nDate: " + DATE + b"\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 9\r\nConnection: keep-alive\r\n\r\n"
        b"GET /a? 0"
    )


def test_response_is_noted_with_its_size_and_the_moment(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(GET)

    (notice,) = world.served
    assert (notice.request, notice.response.body) == (world.asked, b"GET /a? 0")
    assert (notice.elb_status, notice.sent_bytes) == (200, len(peer.received))
    assert notice.completed_at == START


def test_front_without_a_sink_serves(serve: Serve) -> None:
    world = serve(has_sink=False)

    assert world.exchange(GET, b"x\r\n\r\n").statuses == [200, 400]


def test_connection_goes_on_with_the_same_id(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(GET, GET, post(b"x"), chunked(b"x"), GET)

    assert peer.statuses == 5 * [200]
    assert {request.connection_id for request in world.requests} == {32 * "0"}
    assert phase(peer) is Phase.IDLE


def test_every_connection_has_an_id_of_its_own(serve: Serve) -> None:
    world = serve()

    world.exchange(GET)
    world.exchange(GET)

    assert len({request.connection_id for request in world.requests}) == 2


def test_head_request_is_answered_without_a_body(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n")

    assert world.asked.method == "HEAD"
    assert b"Content-Length: 10\r\n" in peer.received
    assert peer.received.endswith(b"\r\n\r\n")


def test_wish_to_close_is_honoured_after_the_response(serve: Serve) -> None:
    peer = serve().exchange(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    (reply,) = peer.replies
    assert reply.headers["Connection"] == "close"
    assert peer.is_closed
    assert not peer.is_aborted


def test_response_that_closes_ends_the_connection_in_stages(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)

    held.release(Pages().page(400))
    world.turn()

    assert peer.replies[0].headers["Connection"] == "close"
    assert (peer.is_half_closed, peer.is_closed) == (True, False)
    peer.send_eof()
    world.turn()
    assert (peer.is_closed, peer.is_aborted) == (True, False)


# Versions


@pytest.mark.parametrize(
    ("wish", "connection"),
    [
        (b"", "close"),
        (b"Connection: keep-alive\r\n", "keep-alive"),
        (b"Connection: x\r\n", "close"),
    ],
)
def test_http_1_0_is_kept_only_where_it_asks_for_it(
    serve: Serve, wish: bytes, connection: str
) -> None:
    world = serve()

    peer = world.exchange(b"GET /a HTTP/1.0\r\nHost: a\r\n%b\r\n" % wish)

    assert world.asked.http_version == "1.0"
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert peer.replies[0].headers["Connection"] == connection
    assert peer.is_closed is (connection == "close")


def events(serve: Serve, *pieces: bytes) -> list[dict[str, Any]]:
    responder, invoker = balancer()
    serve(responder).exchange(*pieces)
    return [json.loads(invocation.payload) for invocation in invoker.invocations]


def test_http_1_0_without_host_gets_the_name_of_the_load_balancer(serve: Serve) -> None:
    (event,) = events(serve, b"GET / HTTP/1.0\r\n\r\n")

    assert event["headers"]["host"] == "shop-1.eu-west-1.elb.amazonaws.com"


def test_later_minor_version_is_served_as_1_1_and_kept(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(b"GET /a HTTP/1.2\r\nHost: a\r\n\r\n")

    assert world.asked.http_version == "1.2"
    assert world.asked.classification == "Acceptable NonCompliantVersion"
    assert peer.replies[0].headers["Connection"] == "keep-alive"


# Targets


@pytest.mark.parametrize(
    ("line", "host", "path"),
    [
        (b"GET /p HTTP/1.1", "a", "/p"),
        (b"GET http://B:80/p HTTP/1.1", "b", "/p"),
        (b"GET http://b#c HTTP/1.1", "b", "/"),
        (b"OPTIONS * HTTP/1.1", "a", "/"),
        (b"GET no/slash HTTP/1.1", "a", "/no/slash"),
        (b"GET  HTTP/1.1", "a", "/"),
        (b"GET /a b HTTP/1.1", "a", "/a b"),
        (b"GET /p#f HTTP/1.1", "a", "/p"),
    ],
)
def test_event_has_host_and_path_of_any_form_of_target(
    serve: Serve, line: bytes, host: str, path: str
) -> None:
    (event,) = events(serve, line + b"\r\nHost: a\r\n\r\n")

    assert (event["headers"]["host"], event["path"]) == (host, path)


def test_target_as_sent_is_kept_for_the_log(serve: Serve) -> None:
    world = serve()

    world.exchange(b"GET http://b/c#d HTTP/1.1\r\nHost: a\r\n\r\n")

    assert world.asked.target == b"http://b/c#d"


@pytest.mark.parametrize("line", [b"CONNECT a:443 HTTP/1.1", b"TRACE / HTTP/1.1"])
def test_tunnels_and_traces_are_not_allowed(serve: Serve, line: bytes) -> None:
    responder, invoker = balancer()
    world = serve(responder)

    peer = world.exchange(line + b"\r\nHost: a:443\r\n\r\n")

    assert peer.statuses == [405]
    assert invoker.invocations == []
    assert not peer.is_closed


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


# Addresses


def test_request_tells_client_and_server(serve: Serve) -> None:
    world = serve()
    peer: Peer = world.connect(client=("::ffff:192.0.2.9", 1, 0, 0), server="/run/gateway.sock")

    peer.send(GET)
    world.turn()

    assert (world.asked.client, world.asked.server) == (("192.0.2.9", 1), ("127.0.0.1", 0))


def test_answers_of_any_size_are_written_whole(serve: Serve) -> None:
    world = serve(Telling(size=1_000_000))

    (reply,) = world.exchange(GET).replies

    assert len(reply.body) == 1_000_000


def test_status_of_the_responder_is_sent(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)

    held.release(answer(b"", 418, "I'm a Teapot"))
    world.turn()

    assert peer.received.startswith(b"HTTP/1.1 418 I'm a Teapot\r\n")
    assert world.noted == [(418, len(peer.received))]

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
    CLIENT,
    DATE,
    GET,
    SERVER,
    START,
    Held,
    Serve,
    Telling,
    answer,
    balancer,
    chunked,
    phase,
    post,
)
from tests.web.transport import Peer

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

"""Heads that are judged: what passes, what is refused, and that nothing behind it is answered."""

import pytest

from gateway.core.desync import Mode
from gateway.core.limits import Phase
from gateway.wire.h1 import RequestParser, Unparsable
from tests.web.peer import CANARY, CLIENT, GET, SERVER, START, Serve, balancer, phase

# Judgement


def test_class_and_reason_are_noted(serve: Serve) -> None:
    world = serve()
    bare = GET.replace(b"\r\n", b"\n")
    twice = GET.replace(b"\r\n\r\n", b"\r\n\tfolded\r\n\r\n")

    world.exchange(bare + bare + GET + twice, CANARY)
    world.turn(32)

    reasons = ["Acceptable NonCrLfLineTermination"] * 2 + ["", "Ambiguous MultilineHeader"]
    assert [notice.request.classification for notice in world.served] == reasons


@pytest.mark.parametrize("mode", [Mode.MONITOR, Mode.DEFENSIVE])
@pytest.mark.parametrize("is_pipelined", [True, False])
def test_ambiguous_request_is_served_and_the_canary_behind_it_is_not(
    serve: Serve, mode: Mode, is_pipelined: bool
) -> None:
    world = serve(mode=mode)
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [head, b"1\r\nx\r\n0\r\n\r\n", CANARY]

    peer = world.exchange(*([b"".join(pieces)] if is_pipelined else pieces))

    assert world.asked.body == b"x"
    assert world.asked.headers == [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]
    assert [reply.headers["Connection"] for reply in peer.replies] == ["close"]
    assert (peer.is_half_closed, peer.is_aborted) == (True, False)


REFUSED = {
    b"GET /a\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n": 400,
    b"GET /a HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n": 400,
    b"G(T /a HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n": 505,
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": 400,
    b"\rGET /a HTTP/1.1\r\nHost: a\r\n\r\n": 400,
}


@pytest.mark.parametrize("head", REFUSED, ids=ascii)
@pytest.mark.parametrize("is_pipelined", [True, False])
def test_refused_head_is_answered_and_the_canary_behind_it_is_not(
    serve: Serve, head: bytes, is_pipelined: bool
) -> None:
    world = serve()

    peer = world.exchange(*([GET + head + CANARY] if is_pipelined else [GET, head, CANARY]))

    assert [request.raw_path for request in world.requests] == [b"/a"]
    assert peer.statuses == [200, REFUSED[head]]
    assert peer.replies[1].headers["Connection"] == "close"
    assert (peer.is_half_closed, peer.is_closed) == (True, False)


def test_strictest_mode_refuses_what_others_pass(serve: Serve) -> None:
    world = serve(mode=Mode.STRICTEST)

    peer = world.exchange(b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" + CANARY)

    assert peer.statuses == [400]
    (notice,) = world.served
    assert notice.request.classification == "Acceptable GetHeadZeroContentLength"


def test_refused_head_is_noted_as_far_as_it_could_be_read(serve: Serve) -> None:
    world = serve()

    world.exchange(b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\nUser-Agent: u\r\n\r\n")

    (notice,) = world.served
    request = notice.request
    assert (request.method, request.target, request.http_version) == ("POST", b"/a?b", "1.1")
    assert (request.raw_path, request.query_string) == (b"/a", b"b")
    assert (b"User-Agent", b"u") in request.headers
    assert request.classification == "Severe BadContentLength"
    assert (request.client, request.server, request.arrived_at) == (CLIENT, SERVER, START)
    assert request.connection_id == 32 * "0"
    assert "Content-Length" in notice.response.forwarding.detail


@pytest.mark.parametrize("head", [b"GET /a\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET /a FTP/1\r\n\r\n"])
def test_request_line_that_cannot_be_trusted_is_not_noted(serve: Serve, head: bytes) -> None:
    world = serve()

    world.exchange(head)

    request = world.served[0].request
    assert (request.method, request.target, request.http_version) == ("", b"", "")


def test_refusal_of_a_head_request_has_no_body(serve: Serve) -> None:
    peer = serve().exchange(b"HEAD /a HTTP/1.1\r\n\r\n")

    assert peer.received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Content-Length: 122\r\n" in peer.received
    assert peer.received.endswith(b"\r\n\r\n")


def test_refusal_is_padded_for_chrome(serve: Serve) -> None:
    peer = serve().exchange(b"GET /a HTTP/1.1\r\nUser-Agent: Chrome/1\r\n\r\n")

    assert len(peer.replies[0].body) == 524


def test_head_that_passes_the_judgement_but_not_the_parser_is_refused(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such head is known; if there is one, it must not be passed on."""

    def feed(_parser: object, _head: bytes) -> None:
        raise Unparsable("no such head")

    monkeypatch.setattr(RequestParser, "feed_head", feed)
    world = serve()

    peer = world.exchange(GET + CANARY)

    assert peer.statuses == [400]
    assert world.served[0].response.forwarding.detail == "no such head"


# Upgrades and other protocols


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"


def test_upgrade_to_http_2_is_ignored(serve: Serve) -> None:
    world = serve()

    peer = world.exchange(b"GET /a HTTP/1.1\r\nHost: a\r\n" + H2C + b"\r\n", CANARY)

    assert peer.statuses == [200, 200]
    assert (b"Upgrade", b"h2c") in world.requests[0].headers


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: %d\r\n\r\n" % len(CANARY) + CANARY,
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(CANARY), CANARY),
    ],
    ids=["sized", "chunked"],
)
def test_body_of_an_upgrade_is_never_the_next_request(serve: Serve, body: bytes) -> None:
    world = serve()

    peer = world.exchange(b"POST /a HTTP/1.1\r\nHost: a\r\n" + H2C + body, GET)

    assert [(request.raw_path, request.body) for request in world.requests] == [
        (b"/a", CANARY),
        (b"/a", b""),
    ]
    assert peer.statuses == [200, 200]


def test_websocket_is_refused_and_what_follows_is_not_read(serve: Serve) -> None:
    responder, invoker = balancer()

    peer = serve(responder).exchange(
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" + CANARY
    )

    assert peer.statuses == [400]
    assert invoker.invocations == []


def test_tls_on_a_plain_port_is_refused_in_plain_words(serve: Serve) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n\r\n\r\n"
    for pieces in ([hello], [hello[:1], hello[1:]]):
        world = serve()

        peer = world.exchange(*pieces)

        assert peer.statuses == [400]
        (notice,) = world.served
        assert "TLS" in notice.response.forwarding.detail
        assert notice.request.method == ""


def test_http_2_preface_is_refused(serve: Serve) -> None:
    assert serve().exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").statuses == [505]


# Empty lines


@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n\r\n", b"\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_empty_lines_before_a_request_are_judged(serve: Serve, lines: bytes) -> None:
    """AWS's classifier sees a request line that is empty."""
    bytewise = [lines[at : at + 1] for at in range(len(lines))]
    for pieces in ([lines + GET], [*bytewise, GET], [lines, GET], [GET + lines, GET]):
        world = serve()

        peer = world.exchange(*pieces)

        assert set(peer.statuses) == {200}
        assert peer.replies[-1].headers["Connection"] == "close"
        assert world.requests[-1].classification == "Ambiguous MissingUri"


def test_empty_lines_before_a_request_are_refused_in_strictest(serve: Serve) -> None:
    assert serve(mode=Mode.STRICTEST).exchange(b"\r\n" + GET).statuses == [400]


def test_empty_lines_alone_begin_no_request(serve: Serve) -> None:
    for lines in (b"\r\n", b"\r", b"\n", b"\r\n\n\r\n\r"):
        world = serve()
        peer = world.exchange(lines)

        assert phase(peer) is Phase.IDLE
        peer.send_eof()
        world.turn()
        assert (peer.received, peer.is_closed, world.served) == (b"", True, [])

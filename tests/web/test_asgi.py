"""The portable front as a server sees it: requests, responses, bodies, WebSocket, bugs of ours."""

from typing import Any

import pytest

from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.notices import OperatorWarning, RequestServed
from gateway.core.pages import Pages
from gateway.testing import FakeClock
from gateway.web.asgi import (
    AsgiFront,
    Scope,
    request_from_scope,
)
from gateway.web.exchanges import Exchanges
from tests.web.exchange import (
    DATE,
    LISTENER,
    NO_BODY,
    NOW,
    Answering,
    Server,
    World,
    body,
    scope,
    shop,
)

# A request that comes and a response that goes


async def test_scope_becomes_a_request() -> None:
    responder = Answering()

    await World(responder).serve(
        body(b"he", b"", b"llo"),
        method="PUT",
        headers=[(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"5")],
        http_version="1.0",
        scheme="https",
    )

    assert responder.requests == [
        HttpRequest(
            "PUT",
            b"/a%20b?x=1",
            b"/a%20b",
            b"x=1",
            [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"5")],
            b"hello",
            client=("198.51.100.7", 40111),
            server=("192.0.2.1", 80),
            scheme="https",
            http_version="1.0",
            arrived_at=NOW,
        )
    ]


OPTIONAL = ("raw_path", "query_string", "scheme", "client", "server", "http_version", "root_path")


@pytest.mark.parametrize("rest", [{}, {"client": None, "server": None, "raw_path": None}])
def test_scope_of_a_sparing_server_becomes_a_request_too(rest: Scope) -> None:
    sparing = {name: value for name, value in scope().items() if name not in OPTIONAL}

    request = request_from_scope(sparing | rest, NOW)

    assert (request.target, request.raw_path, request.query_string) == (b"/a%20b", b"/a%20b", b"")
    assert (request.client, request.server) == (("127.0.0.1", 0), ("127.0.0.1", 0))
    assert (request.scheme, request.http_version) == ("http", "1.1")


@pytest.mark.parametrize(
    ("path", "raw_path"), [("/caf\u00e9", b"/caf%C3%A9"), ("/a?b#c%", b"/a%3Fb%23c%25")]
)
def test_path_is_encoded_again_where_the_server_only_has_it_decoded(
    path: str, raw_path: bytes
) -> None:
    assert request_from_scope(scope(raw_path=None, path=path), NOW).raw_path == raw_path


def test_server_on_a_unix_socket_has_no_port() -> None:
    assert request_from_scope(scope(server=("/run/a.sock", None)), NOW).server == ("/run/a.sock", 0)


@pytest.mark.parametrize(
    ("given", "scheme"),
    [("http", "http"), ("https", "https"), ("ws", "http"), ("wss", "https"), ("spdy", "http")],
)
def test_scheme_is_http_or_https(given: str, scheme: str) -> None:
    assert request_from_scope(scope(scheme=given), NOW).scheme == scheme


async def test_response_goes_out_in_albs_order_and_in_lower_case() -> None:
    reply = {"statusCode": 200, "headers": {"X-Shop": "1", "Content-Type": "text/plain"}}
    world = World(shop({**reply, "body": "hello"}))

    server = await world.serve()

    assert server.sent == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"server", b"awselb/2.0"),
                (b"date", DATE),
                (b"content-type", b"text/plain"),
                (b"content-length", b"5"),
                (b"connection", b"keep-alive"),
                (b"x-shop", b"1"),
            ],
        },
        {"type": "http.response.body", "body": b"hello"},
    ]


async def test_served_request_is_noted() -> None:
    world = World(shop({"statusCode": 200, "body": "hello"}))

    server = await world.serve()

    head = b"HTTP/1.1 200 OK\r\n"
    for name, value in server.sent[0]["headers"]:
        head += name + b": " + value + b"\r\n"
    assert (world.notice.elb_status, world.notice.response.status) == (200, 200)
    assert world.notice.sent_bytes == len(head + b"\r\nhello")
    assert world.notice.completed_at == NOW


async def test_request_is_served_without_a_sink() -> None:
    clock = FakeClock(NOW)
    exchanges = Exchanges(LISTENER, pages=Pages(), sink=None, clock=clock)
    unobserved = AsgiFront(Answering(), exchanges, clock=clock)
    server = Server(NO_BODY)

    await unobserved(scope(), server.receive, server.send)

    assert server.status == 404


async def test_head_gets_the_length_and_no_body() -> None:
    server = await World(shop({"statusCode": 200, "body": "hello"})).serve(method="HEAD")

    assert (server.headers[b"content-length"], server.body) == (b"5", b"")


async def test_204_has_neither_length_nor_body() -> None:
    server = await World(shop({"statusCode": 204, "body": "hello"})).serve()

    assert server.status == 204
    assert server.headers.keys() == {b"server", b"date", b"connection"}
    assert server.body == b""


CLOSE, KEEP = b"close", b"keep-alive"


@pytest.mark.parametrize(
    ("http_version", "wish", "is_closing", "connection"),
    [
        ("1.1", None, False, KEEP),
        ("1.1", b"close", False, CLOSE),
        ("1.1", b"TE, Close", False, CLOSE),
        ("1.1", b"keep-alive", True, CLOSE),
        ("1.0", None, False, CLOSE),
        ("1.0", b"Keep-Alive", False, CLOSE),
        ("1.0", b"keep-alive", True, CLOSE),
        ("2", None, False, None),
        ("2", None, True, None),
        ("3", None, True, None),
    ],
)
async def test_connection_says_what_becomes_of_it(
    http_version: str, wish: bytes | None, is_closing: bool, connection: bytes | None
) -> None:
    response = HttpResponse(200, "OK", [], close=is_closing)
    headers = [] if wish is None else [(b"connection", wish)]

    server = await World(Answering(response)).serve(http_version=http_version, headers=headers)

    assert server.headers.get(b"connection") == connection


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"method": "TRACE"}, 405),
        ({"headers": [(b"x-forwarded-for", b",".join([b"192.0.2.1"] * 31))]}, 463),
        ({"headers": [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]}, 400),
        ({"raw_path": b"/\xff"}, 400),
    ],
)
async def test_request_that_a_load_balancer_refuses_gets_its_page(
    changes: Scope, status: int
) -> None:
    server = await World(shop()).serve(**changes)

    page = Pages().page(status)
    assert (server.status, server.body) == (status, page.body)
    assert server.headers[b"server"] == b"awselb/2.0"


async def test_scope_of_another_type_is_left_alone() -> None:
    world = World()

    server = await world.serve(type="lifespan")

    assert (server.given, server.sent, world.sink.notices) == ([], [], [])


# Bugs of ours


class Broken:
    """A Responder with a bug."""

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        raise ZeroDivisionError("ours")


async def test_bug_is_a_502_page_and_a_traceback() -> None:
    world = World(Broken())

    server = await world.serve()

    assert (server.status, server.body) == (502, Pages().page(502).body)
    warning, notice = world.sink.notices
    assert isinstance(warning, OperatorWarning)
    assert "Traceback" in warning.text
    assert "ZeroDivisionError: ours" in warning.text
    assert isinstance(notice, RequestServed)
    assert notice.response.forwarding.detail == "ZeroDivisionError('ours')"


# WebSocket


def websocket(**changes: Any) -> Scope:
    scheme = {"type": "websocket", "scheme": "ws", "subprotocols": []}
    return {name: value for name, value in scope(**scheme, **changes).items() if name != "method"}


async def exchanged(world: World, asked: Scope) -> Server:
    server = Server([{"type": "websocket.connect"}])
    await world.front(asked, server.receive, server.send)
    return server


async def test_websocket_gets_a_400_page_where_the_server_can_send_one() -> None:
    world = World()

    server = await exchanged(world, websocket(extensions={"websocket.http.response": {}}))

    start, end = server.sent
    assert (start["type"], end["type"]) == (
        "websocket.http.response.start",
        "websocket.http.response.body",
    )
    assert (server.status, server.body) == (400, Pages().page(400).body)
    assert server.headers.keys() == {
        b"server",
        b"date",
        b"content-type",
        b"content-length",
        b"connection",
    }
    assert world.notice.elb_status == 400
    assert world.notice.response.forwarding.error_reason == "LambdaWebsocketNotSupported"


@pytest.mark.parametrize("extensions", [{}, {"extensions": {}}, {"extensions": None}])
async def test_websocket_is_rejected_where_the_server_sends_its_own_403(extensions: Scope) -> None:
    world = World()

    server = await exchanged(world, websocket(**extensions))

    assert server.sent == [{"type": "websocket.close"}]
    assert (world.notice.elb_status, world.notice.sent_bytes) == (403, 0)

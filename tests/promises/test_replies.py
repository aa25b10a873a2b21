"""P15: a handler cannot write to the wire, whatever it returns.

What is not a reply becomes ALB's 502 page. What is one goes out with the framing that the gateway
computed, each header on a line of its own, and not a byte more: the next request on the same
connection gets its own answer.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.serving import PLAIN, Server, serving
from tests.promises.puppet import (
    APPS,
    INJECTED,
    OWN,
    PAGE,
    RESPONSE,
    TEXT,
    asking,
    assert_goes_on,
    name_of_front,
)
from tests.promises.wire import Wire, parsed, post

pytestmark = pytest.mark.slow


def reply(body: str = "", status: Any = 200, /, **headers: Any) -> dict[str, Any]:
    return {"statusCode": status, "headers": headers, "body": body}


def named(name: str, value: str = "1") -> dict[str, Any]:
    return {"statusCode": 200, "headers": {name: value}}


REFUSED: dict[str, Any] = {
    "CR LF in a value": named("X-A", f"1\r\n{INJECTED}"),
    "a response in a value": named("X-A", f"1\r\n\r\n{RESPONSE}"),
    "LF in a value": named("X-A", f"1\n{INJECTED}"),
    "CR in a value": named("X-A", f"1\r{INJECTED}"),
    "NUL in a value": named("X-A", "1\0"),
    "a line fold in a value": named("X-A", "1\r\n 2"),
    "CR LF in a name": named(f"X-A: 1\r\n{INJECTED}\r\nX-B"),
    "a space in a name": named("X A"),
    "a space behind a name": named("X-A "),
    "a colon in a name": named("X-A:"),
    "no name": named(""),
    "a letter beyond ASCII in a name": named("X-\u00c4"),
    "CR LF in the reason": {"statusCode": 200, "statusDescription": f"200 OK\r\n{INJECTED}"},
    "half a surrogate in a value": named("X-A", "\ud800"),
    "headers over 32 KB": named("X-A", "a" * 32_768),
    "an interim status": reply("", 100),
    "a switch of protocols": reply("", 101, Upgrade="websocket", Connection="upgrade"),
    "a status of four digits": reply("", 2000),
    "a negative status": reply("", -200),
    "a status with an end of line": reply("", f"200 OK\r\n{INJECTED}"),
}

REPLACED: dict[str, Any] = {
    "two Content-Lengths": reply("hello", **{"Content-Length": "3", "content-length": "300"}),
    "a length and chunked": reply(
        "hello", **{"Content-Length": "5", "Transfer-Encoding": "chunked"}
    ),
    "chunked": reply("0\r\n\r\n" + RESPONSE, **{"Transfer-Encoding": "chunked"}),
    "a negative length": reply("hello", **{"Content-Length": "-5"}),
    "a length longer than the body": reply("hello", **{"Content-Length": "500"}),
    "a length shorter than the body": reply("hello" + RESPONSE, **{"Content-Length": "5"}),
    "no length at all": reply("hello", **{"Connection": "close, X-A", "X-A": "1"}),
    "an upgrade": reply(
        "hello", Upgrade="h2c", Connection="upgrade", **{"Keep-Alive": "timeout=9"}
    ),
    "a trailer": reply("hello", Trailer="X-A", TE="trailers", **{"Proxy-Connection": "close"}),
    "a response in the body": reply("\r\n\r\n" + RESPONSE),
}
"""Framing and hop-by-hop headers are the gateway's, whatever the handler says."""

BODILESS: dict[str, Any] = {
    "a body with 204": reply(RESPONSE, 204),
    "a body with 304": reply(RESPONSE, 304, **{"Content-Length": "500"}),
}


@pytest.fixture(scope="module", params=PLAIN, ids=name_of_front)
def puppet(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving("puppet.handler", *request.param, code=APPS) as server:
        yield server


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_reply_becomes_the_page(puppet: Server, name: str) -> None:
    with Wire(puppet) as wire:
        response = wire.ask(asking(REFUSED[name]))
        assert_goes_on(wire)

    assert (response.status, response.body) == (502, PAGE)
    assert {key.lower() for key, _ in response.headers} == OWN


@pytest.mark.parametrize("name", REPLACED)
def test_framing_is_never_the_handlers(puppet: Server, name: str) -> None:
    given = REPLACED[name]

    with Wire(puppet) as wire:
        response = wire.ask(asking(given))
        assert_goes_on(wire)

    assert (response.status, response.body) == (200, given["body"].encode())
    assert {key.lower() for key, _ in response.headers} - {b"x-a"} == OWN
    assert not response.closes


@pytest.mark.parametrize("name", BODILESS)
def test_status_without_body_has_none(puppet: Server, name: str) -> None:
    with Wire(puppet) as wire:
        response = wire.ask(asking(BODILESS[name]))
        assert_goes_on(wire)

    assert response.status == BODILESS[name]["statusCode"]


@pytest.mark.parametrize("name", [*REPLACED, *REFUSED])
def test_head_has_no_body_whatever_the_handler_says(puppet: Server, name: str) -> None:
    body = json.dumps({**REPLACED, **REFUSED}[name]).encode()
    request = post(body, TEXT, b"Connection: close").replace(b"POST", b"HEAD", 1)

    with Wire(puppet) as wire:
        response = wire.ask(request, is_head=True)
        rest = wire.rest()

    assert response.status == (502 if name in REFUSED else 200)
    assert rest == b""


def test_reply_over_a_megabyte_becomes_the_page(puppet: Server) -> None:
    with Wire(puppet) as wire:
        response = wire.ask(asking({**reply("0123456789abcdef"), "times": 65_536}))
        assert_goes_on(wire)

    assert response.status == 502


def test_wire_helper_sees_what_is_injected() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"

    response, rest = parsed(data)

    assert response.body == b"ok"
    assert rest == b"HTTP/1.1 200 OK\r\n"

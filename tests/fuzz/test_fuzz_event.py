"""The event builder against any request that a front could make.

An input's first byte says which attributes are set, its second the HTTP version; then come method,
target, content and header lines, each on a line of its own.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from gateway.core.alb import AlbCodec, maybe_refusal
from gateway.core.attributes import Attributes
from gateway.core.errors import BadRequestContent
from gateway.core.http import HttpRequest
from gateway.core.listener import ListenerAddress
from gateway.core.tracing import trace_header
from gateway.web.h1_request import path_of
from tests.fuzz.harness import checked, fuzz, mutated, seeds
from tests.soaking import soak_only
from tests.web.peer import ARN

NAME = "event"
MAPS = {
    False: ("queryStringParameters", "headers"),
    True: ("multiValueQueryStringParameters", "multiValueHeaders"),
}
COMMON = {"requestContext", "httpMethod", "path", "body", "isBase64Encoded"}


def request_of(data: bytes) -> HttpRequest:
    method, target, body, *fields = [*data[2:].split(b"\n"), b"", b"", b""]
    path, _, query = path_of(target).partition(b"?")
    pairs = [(name, value) for name, _, value in (field.partition(b":") for field in fields)]
    headers = [(name, value.strip(b" \t")) for name, value in pairs if name]
    version = ["1.1", "1.0", "2"][data[1] % 3] if data[1:] else "1.1"
    request = HttpRequest(method.decode("latin-1"), target, path, query, headers, body)
    request.http_version = version
    return request


def codec_of(flags: int) -> tuple[AlbCodec, bool]:
    attributes = Attributes(
        multi_value_headers=bool(flags & 1),
        xff_mode=["append", "preserve", "remove", "append"][flags >> 1 & 3],
        xff_client_port=bool(flags & 8),
        preserve_host=bool(flags & 16),
        drop_invalid_headers=bool(flags & 32),
        tls_headers=bool(flags & 64),
    )
    listener = ListenerAddress("http", 8080 if flags & 128 else 80, "shop-1.elb.amazonaws.com")
    return AlbCodec(ARN, listener, attributes), bool(flags & 1)


def check(data: bytes) -> None:
    """An event has the members it should have, or says which bytes are not UTF-8."""
    request = request_of(data)
    codec, multi = codec_of(data[0] if data else 0)
    maybe_refusal(request)
    request.trace_id = trace_header(request.headers, now=0, draw=24 * "0")
    try:
        payload = codec.encode(request)
    except BadRequestContent:
        assert not all(map(is_utf8, parts(request)))
        return

    check_event(json.loads(payload), request, multi=multi)


def check_event(event: dict[str, Any], request: HttpRequest, *, multi: bool) -> None:
    assert set(event) == {*COMMON, *MAPS[multi]}
    assert event["httpMethod"] == request.method
    assert event["path"] == request.raw_path.decode()
    assert event["path"].startswith("/")
    text = event["body"]
    content = base64.b64decode(text, validate=True) if event["isBase64Encoded"] else text.encode()
    assert content == request.body
    for members in map(event.__getitem__, MAPS[multi]):
        assert list(members) == sorted(members)
        kinds = {type(value) for value in members.values()}
        assert kinds <= {list if multi else str}
    headers = event[MAPS[multi][1]]
    assert all(name == name.encode().lower().decode() for name in headers)
    assert not {"expect", "transfer-encoding"} & set(headers)
    assert headers["x-forwarded-proto"] in ("http", ["http"])


def parts(request: HttpRequest) -> list[bytes]:
    fields = [part for field in request.headers for part in field]
    return [request.target, request.body, *fields]


def is_utf8(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True


BEGINNINGS = [
    b"\0\0GET\n/a%2F?b=c&d\n\nHost: Shop:80\nCookie: a=1\nCookie: b=2\nX-A: \xc3\xa4",
    b"\1\0POST\n/\n{}\nContent-Type: application/json; charset=utf-8\nHost: [::1]:8080",
    b"\xff\1POST\nhttp://u@B:1/c?\n\xff\nContent-Encoding: gzip\nX-Forwarded-For: 1, 2\n",
    b"\x2a\2PUT\n*\nx\nX-Amzn-Trace-Id: Root=1;Self=2;a\nx_y: z\ncookie: c\ncookie: d\nExpect: e",
    b"\x10\0GET\n?=&&=b&a=%zz\n\nUpgrade: websocket\nConnection: upgrade",
]
PARTS = [
    *[b"\n", b":", b"/", b"?", b"&", b"=", b"#", b"://", b"@", b"%", b"[", b"]", b";", b",", b"\0"],
    *[b"\xff", b"\xc3\xa4", b"\xe2\x80\xa8", b"\xc4\xb0", b"\nHost: ", b"\nX-Forwarded-For: 1, 1"],
    *[b"\nContent-Type: text/x", b"\nX-Amzn-Trace-Id: Root=", b"\nConnection: ", b" "],
]


@pytest.mark.parametrize("seed", seeds(NAME), ids=lambda seed: seed.name)
def test_request_found_before_becomes_an_event(seed: Path) -> None:
    checked(check, seed.read_bytes())


@pytest.mark.slow
@soak_only
def test_any_request_becomes_an_event_or_is_refused() -> None:
    assert fuzz(NAME, check, mutated(BEGINNINGS, PARTS) | st.binary(max_size=200))

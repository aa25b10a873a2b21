"""The event of every golden request, and the refusals of the listener."""

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.alb import (
    FORWARDED_ADDRESS_LIMIT,
    REQUEST_BODY_LIMIT,
    AlbCodec,
    refusal,
)
from gateway.core.attributes import Attributes, with_attribute
from gateway.core.errors import BadRequestContent, RequestTooLarge, TooManyForwardedAddresses
from gateway.core.http import HttpRequest
from gateway.core.listener import Listener, listener_from_url
from gateway.core.tracing import trace_header
from tests.golden import Case, cases

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"
DNS_NAME = "shop-1234567890.eu-west-1.elb.amazonaws.com"
ESCAPED = re.compile(rb"\\x([0-9A-Fa-f]{2})")


def attributes(case: Case) -> Attributes:
    found = Attributes(multi_value_headers=case.option("mode", "single") == "multi")
    for setting in case.options.get("attribute", []):
        found = with_attribute(found, setting)
    return found


def unescaped(line: bytes) -> bytes:
    return ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), line)


def request(case: Case) -> HttpRequest:
    head, _, body = case.input.encode().partition(b"\n\n")
    first, *lines = [unescaped(line) for line in head.strip(b"\n").split(b"\n")]
    method, target, version = first.split(b" ", 2)
    path = re.sub(rb"^https?://[^/?#]*", b"", target)
    raw_path, _, query = path.partition(b"?")
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name, value.strip(b" \t")))
    client, _, port = case.option("client", "198.51.100.7:40111").rpartition(":")
    return HttpRequest(
        method.decode(),
        target,
        raw_path or b"/",
        query,
        headers,
        base64.b64decode(case.option("body_base64")) or body.removesuffix(b"\n"),
        client=(client.strip("[]"), int(port)),
        http_version=version.decode().removeprefix("HTTP/"),
    )


def codec(case: Case) -> AlbCodec:
    scheme, port = case.option("listener", "http 80").split()
    seen_as = Listener(scheme, int(port), DNS_NAME)
    if case.option("as"):
        seen_as = listener_from_url(case.option("as"))
    return AlbCodec(ARN, seen_as, attributes(case))


def encoded(case: Case) -> str:
    asked = request(case)
    now = float(case.option("now", "1727054242"))
    draw = case.option("draw", "5b1d2c3e4f5061728394a5b6")
    asked.trace_id = trace_header(asked.headers, now=now, draw=draw)
    try:
        payload = codec(case).encode(asked)
    except BadRequestContent:
        return "error: LambdaBadRequest\n"
    return json.dumps(json.loads(payload), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("case", cases("event"), ids=lambda case: case.name)
def test_golden_event(case: Case) -> None:
    if case.expected.startswith("error:"):
        assert encoded(case) == case.expected
        return
    expected = json.loads(case.expected)

    assert json.loads(encoded(case)) == expected
    assert list(json.loads(encoded(case))) == list(expected)
    assert encoded(case) == json.dumps(expected, indent=2, ensure_ascii=False) + "\n"

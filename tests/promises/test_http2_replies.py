"""P15 over HTTP/2: a handler cannot write to the wire, whatever it returns."""

import json
from collections import Counter
from random import Random
from typing import Any

import h2.events
import pytest

from gateway.balancer.balancer import Balancer, Forward
from gateway.core.alb import AlbCodec
from gateway.core.attributes import Attributes
from gateway.core.invocation import FunctionRef, InvocationResult
from gateway.core.listener import ListenerAddress
from gateway.core.pages import Pages
from gateway.testing import FakeClock, FakeInvoker
from tests.promises.conftest import Report
from tests.promises.puppet import INJECTED, OWN, PAGE
from tests.promises.test_random_replies import expected_lines, is_refused, mapped, random_pairs
from tests.promises.test_replies import REFUSED, REPLACED
from tests.soaking import IS_SOAK
from tests.web.h2_peer import H2Client
from tests.web.peer import ARN, DATE, World, balancer

LISTENER = ListenerAddress("https", 443, "shop-1.eu-west-1.elb.amazonaws.com")


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_reply_is_a_502_over_http2(name: str) -> None:
    client, stream = told(REFUSED[name])

    assert client.status(stream) == 502
    assert_nothing_injected(client, stream)


@pytest.mark.parametrize("name", REPLACED)
def test_framing_is_the_gateways_over_http2(name: str) -> None:
    client, stream = told(REPLACED[name])

    headers = client.headers(stream)
    assert client.status(stream) == 200
    assert client.body(stream) == REPLACED[name]["body"].encode()
    assert headers["content-length"] == str(len(client.body(stream)))
    assert not headers.keys() & {"connection", "transfer-encoding", "keep-alive", "upgrade"}
    assert_nothing_injected(client, stream)


THOUSANDS = 5 if IS_SOAK else 1
"""Of random header maps."""


@pytest.mark.slow
@pytest.mark.parametrize("is_multi", [False, True], ids=["single", "multi"])
def test_random_header_maps_over_http2(report: Report, *, is_multi: bool) -> None:
    random = Random(19 + is_multi)
    outcomes = Counter[int]()
    for _ in range(THOUSANDS):
        maps = [random_pairs(random, is_multi=is_multi) for _ in range(1000)]
        replies = [json.dumps(mapped(pairs, "body", is_multi=is_multi)) for pairs in maps]
        invoker = FakeInvoker([InvocationResult(reply.encode()) for reply in replies])
        attributes = Attributes(multi_value_headers=is_multi)
        group = Forward(ARN, FunctionRef("f", "", ""), AlbCodec(ARN, LISTENER, attributes))
        responder = Balancer(
            group, invoker, pages=Pages(), clock=FakeClock(), draw="0123456789abcdef".__mul__
        )
        with World(responder) as world:
            client = H2Client(world)
            for pairs in maps:
                stream = client.ask()
                outcomes[client.status(stream)] += 1
                assert_lines_are(client, stream, pairs)
                client.events.clear()
            assert client.goaways == []

    assert min(outcomes.values()) > 200 * THOUSANDS
    kind = "multi" if is_multi else "single"
    report(f"P15 {THOUSANDS},000 random header maps over HTTP/2, {kind}-value: {dict(outcomes)}")


def assert_lines_are(client: H2Client, stream: int, pairs: list[tuple[str, str]]) -> None:
    """A response is the page or has exactly the lines it should have, in lower case."""
    assert client.is_over(stream)
    (event,) = client.of(h2.events.ResponseReceived, stream)
    seen = Counter((name, value) for name, value in event.headers if name != ":status")
    if is_refused(pairs):
        assert client.body(stream) == PAGE
        assert {name.encode() for name, _ in seen} == OWN - {b"connection"}
        return
    expected = Counter[tuple[str, str]]()
    for name, value in expected_lines(pairs, b"body").elements():
        expected[name.decode().lower(), value.decode().strip(" \t")] += 1
    del expected["connection", "keep-alive"]
    if "date" not in {name.lower() for name, _ in pairs}:
        del expected["date", ""], seen["date", DATE.decode()]
    assert seen == expected, pairs
    assert client.body(stream) == b"body"


def told(reply: Any) -> tuple[H2Client, int]:
    """A client that was given a function's reply, through the balancer, and its stream; the next
    request on the connection is answered."""
    responder, _ = balancer(json.dumps(reply).encode(), b'{"statusCode": 204}', port=443)
    with World(responder) as world:
        client = H2Client(world)
        stream = client.ask()
        assert client.status(client.ask()) == 204
        assert client.goaways == []
    return client, stream


def assert_nothing_injected(client: H2Client, stream: int) -> None:
    assert INJECTED.partition(":")[0].lower() not in client.headers(stream)
    assert client.is_over(stream)

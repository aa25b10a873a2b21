"""The reply mapper against anything a function could return, as a client reads it from the wire.

The first byte of an input says the mode of the target group, the method, and whether headers are
reversed; the rest is the reply.
"""

from pathlib import Path

import h11
import pytest
from hypothesis import strategies as st

from gateway.core.alb_reply import decode_reply
from gateway.core.errors import BadFunctionResponse
from gateway.core.http import HttpResponse
from gateway.wire.h1 import response_head
from tests.core.test_alb_reply import DATE, payload
from tests.fuzz.harness import checked, fuzz, mutated, seeds
from tests.golden import cases
from tests.soaking import soak_only

NAME = "reply"


def check(data: bytes) -> None:
    """A client reads exactly the response that was meant, or nothing of the reply is written."""
    flags = data[0] if data else 0
    is_head = bool(flags & 2)
    try:
        response = decode_reply(
            data[1:], multi_value=bool(flags & 1), is_head=is_head, faithful=bool(flags & 4)
        )
    except BadFunctionResponse as error:
        refusal = str(error)
    else:
        check_wire(response, is_head=is_head)
        return

    assert refusal.isprintable()


def check_wire(response: HttpResponse, *, is_head: bool) -> None:
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    client.send(
        h11.Request(method="HEAD" if is_head else "GET", target="/", headers=[("Host", "a")])
    )
    client.send(h11.EndOfMessage())
    head = response_head(response, date=DATE, connection=b"keep-alive")
    client.receive_data(head + response.body + b"HTTP/1.1 ")

    answer = client.next_event()
    assert isinstance(answer, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data == (b"HTTP/1.1 ", False)
    assert (answer.status_code, body) == (response.status, response.body)
    read = [(name, value.strip(b" \t")) for name, value in answer.headers.raw_items()]
    sent = [(name, value.strip(b" \t")) for name, value in response.headers]
    assert [pair for pair in read if pair[0] not in {b"Connection", b"Date"}] == [
        pair for pair in sent if pair[0] not in {b"Connection", b"Date"}
    ]


REPLIES = [payload(case) for case in cases("reply")]
BEGINNINGS = [
    bytes([flags]) + reply for reply in REPLIES if len(reply) < 1000 for flags in (0, 1, 2, 5)
]
PARTS = [
    *[b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"0", b"-1", b"1e9", b"\\r\\n"],
    *[b"\\u0000", b"\\ud800", b"\\u0085", b"\\u2028", b"\xc3\xa4", b"\xff", b"\\n", b" "],
    *[b'"headers"', b'"multiValueHeaders"', b'"Content-Length"', b'"Transfer-Encoding"', b'"204"'],
    *[b'"body"', b'"statusCode": 304, ', b'"isBase64Encoded": true, ', b'"statusDescription"'],
]


@pytest.mark.parametrize("seed", seeds(NAME), ids=lambda seed: seed.name)
def test_reply_found_before_is_served_or_refused(seed: Path) -> None:
    checked(check, seed.read_bytes())


@pytest.mark.slow
@soak_only
def test_any_reply_is_read_as_it_was_meant_or_refused() -> None:
    assert fuzz(NAME, check, mutated(BEGINNINGS, PARTS) | st.binary(max_size=200))

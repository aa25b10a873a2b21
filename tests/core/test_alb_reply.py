"""The response, or the refusal, of every golden reply."""

import base64

import pytest

from gateway.core.alb_reply import decode_reply
from gateway.core.errors import BadFunctionResponse
from gateway.core.http import HttpResponse, wire_headers
from gateway.core.outcomes import outcome
from gateway.core.pages import Pages
from tests.core.test_alb import attributes
from tests.golden import Case, cases, expanded

DATE = b"Wed, 30 Dec 2020 08:27:16 GMT"


def payload(case: Case) -> bytes:
    if case.option("payload_base64"):
        return base64.b64decode(case.option("payload_base64"))
    return expanded(case.input.removesuffix("\n")).encode()


def decoded(case: Case) -> HttpResponse:
    response = decode_reply(
        payload(case),
        multi_value=case.option("mode", "single") == "multi",
        is_head=case.option("method", "GET") == "HEAD",
        faithful=case.option("faithful") == "true",
    )
    return Pages(attributes(case)).dressed(response)


def written(response: HttpResponse, connection: bytes = b"keep-alive") -> bytes:
    lines = [f"HTTP/1.1 {response.status} {response.reason}".encode()]
    headers = wire_headers(response, date=DATE, connection=connection)
    lines += [name + b": " + value for name, value in headers]
    return b"\n".join([*lines, b"", b""]) + response.body


def refused(case: Case) -> str:
    with pytest.raises(BadFunctionResponse) as caught:
        decoded(case)
    return f"error: {outcome(caught.value)[1]}\nfield: {caught.value.field}\n"


@pytest.mark.parametrize("case", cases("reply"), ids=lambda case: case.name)
def test_golden_reply(case: Case) -> None:
    if case.expected.startswith("error:"):
        assert refused(case) == case.expected
        return
    head, _, body = expanded(case.expected).partition("\n\n")
    expected_body = body.removesuffix("\n").encode()
    if body.startswith("<base64> "):
        expected_body = base64.b64decode(body.removeprefix("<base64> "))

    assert written(decoded(case)) == f"{head}\n\n".encode() + expected_body

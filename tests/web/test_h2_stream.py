"""A stream collects a body and turns a response into what HTTP/2 may send."""

import pytest

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.turns import Claim, Share
from gateway.web.h2_stream import CONNECTION_SPECIFIC, Stream, StreamState

DATE = b"Thu, 01 Jan 1970 00:17:04 GMT"


def stream(*headers: tuple[bytes, bytes], has_ended: bool = True) -> Stream:
    request = HttpRequest("POST", b"/", b"/", b"", list(headers))
    return Stream(1, request, Claim(Share("a", list)), has_ended=has_ended)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_body_is_taken_up_to_its_limit(over: int) -> None:
    request = stream(has_ended=False)
    request.expect_body(1.0)

    assert request.add(bytes(REQUEST_BODY_LIMIT + over), 2.0) is (over <= 0)


def test_complete_body_belongs_to_the_request_alone() -> None:
    request = stream(has_ended=False)
    request.expect_body(1.0)
    request.add(b"ab", 2.0)
    request.add(b"c", 3.0)

    request.end_body()

    assert (request.request.body, request.request.received_bytes) == (b"abc", 3)
    assert (request.step, request.body) == (StreamState.WAITING, b"")
    assert (request.progress.began_at, request.progress.active_at) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("value", "length"), [(b"0", 0), (b"12", 12), (b"0" * 5000 + b"7", 7), (b"", 0)]
)
def test_declared_length_is_read(value: bytes, length: int) -> None:
    assert stream((b"content-length", value)).declared() == length


def test_without_a_declared_length_the_length_is_unknown() -> None:
    assert stream().declared() == 0


def test_response_is_said_in_lower_case_without_connection_headers() -> None:
    names = [name.title() for name in sorted(CONNECTION_SPECIFIC)]
    response = HttpResponse(
        200,
        "OK",
        [(b"Server", b"a"), (b"X-Y", b" \tb\tc "), *[(name, b"c") for name in names]],
        b"text",
        1,
        1,
    )
    request = stream()

    headers = request.answer(response, DATE)

    assert headers == [(b"server", b"a"), (b"date", DATE), (b"x-y", b"b\tc")]
    assert (request.step, bytes(request.unsent)) == (StreamState.WRITING, b"text")
    assert request.sent_bytes == len(b"server: a\r\nx-y: b\tc\r\ndate: \r\n") + len(DATE)


def test_part_of_a_body_is_copied_when_half_was_sent() -> None:
    answered = stream()
    answered.answer(HttpResponse(200, "OK", [], bytes(range(100))), DATE)

    freed = [answered.advance(size) for size in (49, 1, 24, 25, 1)]

    assert freed == [0, 50, 0, 49, 1]
    assert (bytes(answered.unsent), answered.response.body) == (b"", b"")


def test_body_of_a_request_that_is_answered_is_held_no_longer() -> None:
    asked = HttpRequest("POST", b"/", b"/", b"", [], b"body")
    answered = Stream(1, asked, Claim(Share("a", list)), has_ended=True)

    answered.answer(HttpResponse(200, "OK", [], b"text"), DATE)

    assert (answered.request.body, asked.body) == (b"", b"body")

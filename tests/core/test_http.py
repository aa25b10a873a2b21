"""Header helpers, and where Date and Connection go."""

import pytest

from gateway.core.http import (
    UNFORWARDED,
    Forwarding,
    Headers,
    HttpRequest,
    HttpResponse,
    has_token,
    header,
    http_date,
    wire_headers,
    wishes_close,
)

LINES = [(b"X-A", b"1"), (b"Accept", b"*/*"), (b"x-a", b"2")]


def test_last_line_of_a_repeated_header_counts() -> None:
    assert header(LINES, b"x-a") == b"2"


def test_header_name_case_does_not_matter() -> None:
    assert header(LINES, b"accept") == b"*/*"


def test_missing_header_differs_from_an_empty_one() -> None:
    assert header([], b"x-a") is None
    assert header([(b"X-A", b"")], b"x-a") == b""


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Connection", b"close")],
        [(b"CONNECTION", b"Close")],
        [(b"Connection", b"keep-alive ,\tclose ")],
        [(b"Connection", b"x"), (b"Connection", b"close")],
        [(b"Connection", b"close"), (b"Connection", b"x")],
    ],
)
def test_token_is_found_in_any_line_and_case(headers: Headers) -> None:
    assert has_token(headers, b"connection", b"close")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"Connection", b"")],
        [(b"Connection", b"closed")],
        [(b"Connection", b"en close")],
        [(b"X-Connection", b"close")],
        [(b"X-Connectn", b"close")],
    ],
)
def test_token_is_found_as_a_whole_or_not_at_all(headers: Headers) -> None:
    assert not has_token(headers, b"connection", b"close")


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        ("1.0", None, True),
        ("1.0", b"keep-alive", False),
        ("1.0", b"close", True),
        ("1.1", None, False),
        ("1.1", b"keep-alive", False),
        ("1.1", b"close", True),
        ("2", None, False),
    ],
)
def test_wish_to_close_depends_on_version_and_connection(
    version: str, connection: bytes | None, expected: bool
) -> None:
    headers = [] if connection is None else [(b"Connection", connection)]

    assert wishes_close(HttpRequest("GET", b"/", b"/", b"", headers, http_version=version)) is (
        expected
    )


def response(date_index: int) -> HttpResponse:
    headers = [(b"Server", b"s"), (b"Content-Type", b"t"), (b"Content-Length", b"0"), (b"X", b"1")]
    return HttpResponse(200, "OK", headers, leading=3, date_index=date_index)


def test_date_follows_server_and_connection_the_content_length() -> None:
    lines = wire_headers(response(1), date=b"now", connection=b"close")

    assert lines == [
        (b"Server", b"s"),
        (b"Date", b"now"),
        (b"Content-Type", b"t"),
        (b"Content-Length", b"0"),
        (b"Connection", b"close"),
        (b"X", b"1"),
    ]


def test_date_has_the_form_of_http_whatever_the_locale() -> None:
    assert http_date(1609316836) == b"Wed, 30 Dec 2020 08:27:16 GMT"


def test_date_may_come_first() -> None:
    assert wire_headers(response(0), date=b"now", connection=None)[0] == (b"Date", b"now")


def test_date_of_the_function_is_not_doubled() -> None:
    names = [name for name, _ in wire_headers(response(-1), date=b"now", connection=b"close")]

    assert names == [b"Server", b"Content-Type", b"Content-Length", b"Connection", b"X"]


def test_http_2_gets_no_connection_header() -> None:
    names = [name for name, _ in wire_headers(response(1), date=b"now", connection=None)]

    assert b"Connection" not in names


def test_request_came_from_this_machine_over_plain_http_unless_told_otherwise() -> None:
    request = HttpRequest("GET", b"/", b"/", b"", [])

    assert (request.scheme, request.http_version, request.body) == ("http", "1.1", b"")
    assert (request.client, request.server) == (("127.0.0.1", 0), ("127.0.0.1", 80))
    assert (request.received_bytes, request.classification, request.trace_id) == (0, "", "")


def test_response_stays_open_and_unforwarded_unless_told_otherwise() -> None:
    response = HttpResponse(200, "OK", [])

    assert (response.body, response.close, response.hint) == (b"", False, "")
    assert response.forwarding is UNFORWARDED
    assert wire_headers(response, date=b"now", connection=b"close") == [(b"Connection", b"close")]


def test_forwarding_that_never_began_has_no_status_and_no_times() -> None:
    forwarding = Forwarding()

    assert (forwarding.error_reason, forwarding.detail, forwarding.target_status) == ("", "", 0)
    assert (forwarding.dispatched_at, forwarding.target_seconds) == (0.0, -1.0)


def test_response_may_be_written_twice() -> None:
    given = response(1)

    first = wire_headers(given, date=b"now", connection=b"close")

    assert wire_headers(given, date=b"now", connection=b"close") == first
    assert given == response(1)

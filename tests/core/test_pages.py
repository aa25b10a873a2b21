"""Every golden page, to the byte; what listener attributes do to a response."""

import pytest

from gateway.core.attributes import Attributes
from gateway.core.http import HttpRequest, HttpResponse, wire_headers, wishes_close
from gateway.core.pages import TITLES, Pages, is_padded, page, with_listener_headers
from tests.conftest import Golden
from tests.core.test_alb_reply import DATE, head
from tests.golden import Case, cases

CHROME = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"


@pytest.mark.parametrize("case", cases("page"), ids=lambda case: case.name)
def test_golden_page(case: Case, check_golden: Golden) -> None:
    headers = [(b"Connection", case.option("connection", "keep-alive").encode())]
    if case.option("user_agent"):
        headers.append((b"User-Agent", case.option("user_agent").encode()))
    asked = HttpRequest(case.option("method", "GET"), b"/", b"/", b"", headers)
    response = page(int(case.option("status")), asked)
    is_closing = response.close or wishes_close(asked)

    answer = head(response, b"close" if is_closing else b"keep-alive")

    check_golden(case, answer + response.body.decode("ascii").replace("\r\n", "\n"))


@pytest.mark.parametrize("status", TITLES)
def test_page_ends_every_line_with_cr_lf_and_says_its_length(status: int) -> None:
    response = page(status)

    assert response.body.endswith(b"</html>\r\n")
    assert response.body.count(b"\n") == response.body.count(b"\r\n") == 6
    assert (b"Content-Length", b"%d" % len(response.body)) in response.headers


def test_page_without_a_request_is_never_padded() -> None:
    asked = HttpRequest("GET", b"/", b"/", b"", [(b"User-Agent", CHROME)])

    assert len(page(502, asked).body) == len(page(502).body) + 6 * 67


@pytest.mark.parametrize("status", [400, 408, 413, 414, 500, 501, 505])
def test_connection_ends_after_what_nginx_closes_on(status: int) -> None:
    assert page(status).close


@pytest.mark.parametrize("status", [302, 403, 405, 463, 502, 503, 504])
def test_connection_goes_on_after_other_pages(status: int) -> None:
    assert not page(status).close


def test_last_user_agent_line_decides_about_padding() -> None:
    lines = [(b"User-Agent", CHROME), (b"user-agent", b"curl/8.5.0")]

    assert len(page(502, HttpRequest("GET", b"/", b"/", b"", lines)).body) == 122


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (None, False),
        (b"", False),
        (CHROME, True),
        (CHROME + b" Opera", False),
        (CHROME + b" Gecko/20100101", False),
        (b"MSIE 6.0", True),
        (b"MSIE 6", False),
        (b"MSIE \n\n\n", True),
    ],
)
def test_padding_goes_to_chrome_and_old_msie(agent: bytes | None, *, expected: bool) -> None:
    assert is_padded(agent) is expected


def response() -> HttpResponse:
    headers = [
        (b"Server", b"awselb/2.0"),
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"2"),
        (b"X-A", b"1"),
        (b"x-frame-options", b"DENY"),
        (b"X-FRAME-OPTIONS", b"ALLOWALL"),
        (b"X-B", b"2"),
    ]
    return HttpResponse(200, "OK", headers, b"hi", leading=3, date_index=1)


def sent(answer: HttpResponse) -> list[bytes]:
    return [name for name, _ in wire_headers(answer, date=DATE, connection=b"close")]


def test_listener_without_attributes_changes_nothing() -> None:
    given = response()

    assert Pages().completed(given) is given
    assert given == response()


def test_listener_header_replaces_every_spelling_and_comes_last() -> None:
    attributes = Attributes(response_headers=((b"X-Frame-Options", b"SAMEORIGIN"),))

    completed = Pages(attributes).completed(response())

    assert completed.headers[3:] == [
        (b"X-A", b"1"),
        (b"X-B", b"2"),
        (b"X-Frame-Options", b"SAMEORIGIN"),
    ]


def test_connection_keeps_its_place_when_the_header_after_it_is_replaced() -> None:
    given = response()
    del given.headers[3]
    attributes = Attributes(response_headers=((b"X-Frame-Options", b"SAMEORIGIN"),))

    completed = Pages(attributes).completed(given)

    assert sent(completed)[3:] == [b"Content-Length", b"Connection", b"X-B", b"X-Frame-Options"]


def test_listener_headers_come_in_the_order_given() -> None:
    added = ((b"X-Frame-Options", b"DENY"), (b"Access-Control-Max-Age", b"60"))

    completed = with_listener_headers(response(), Attributes(response_headers=added))

    assert tuple(completed.headers[-2:]) == added


def test_date_and_connection_keep_their_places_when_server_is_switched_off() -> None:
    completed = Pages(Attributes(server_header=False)).completed(response())

    assert sent(completed)[:5] == [
        b"Date",
        b"Content-Type",
        b"Content-Length",
        b"Connection",
        b"X-A",
    ]


def test_date_of_the_function_is_not_doubled_when_server_is_switched_off() -> None:
    given = response()
    given.date_index = -1

    completed = Pages(Attributes(server_header=False)).completed(given)

    assert b"Date" not in sent(completed)


def test_pages_wear_the_listener_headers_too() -> None:
    attributes = Attributes(server_header=False, response_headers=((b"X-Frame-Options", b"DENY"),))

    names = sent(Pages(attributes).page(502))

    assert names == [b"Date", b"Content-Type", b"Content-Length", b"Connection", b"X-Frame-Options"]

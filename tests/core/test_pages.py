"""Every golden page, to the byte."""

import pytest

from gateway.core.http import HttpRequest, wishes_close
from gateway.core.pages import page
from tests.core.test_alb_reply import written
from tests.golden import Case, cases


@pytest.mark.parametrize("case", cases("page"), ids=lambda case: case.name)
def test_golden_page(case: Case) -> None:
    headers = [(b"Connection", case.option("connection", "keep-alive").encode())]
    if case.option("user_agent"):
        headers.append((b"User-Agent", case.option("user_agent").encode()))
    asked = HttpRequest(case.option("method", "GET"), b"/", b"/", b"", headers)
    response = page(int(case.option("status")), asked)
    is_closing = response.close or wishes_close(asked)

    answer = written(response, b"close" if is_closing else b"keep-alive")

    head, _, body = answer.partition(b"\n\n")
    assert head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body == case.expected.replace(
        "\n", "\r\n"
    ).encode()

"""The notices that a sink may be given."""

import inspect
from typing import get_args

from gateway.core import notices
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.listener import ListenerAddress
from gateway.core.notices import FunctionReloaded, LogEntry, LogStream, Notice, RequestServed

LISTENER = ListenerAddress("http", 80, "shop.example.org")

PARTS = {LogStream, LogEntry}
"""What notices consist of."""


def test_every_notice_is_one_that_sinks_expect() -> None:
    found = inspect.getmembers(notices, inspect.isclass)
    defined = {kind for _, kind in found if kind.__module__ == notices.__name__}

    assert set(get_args(Notice)) == defined - PARTS


def test_status_of_a_client_that_left_is_kept_beside_the_response() -> None:
    request = HttpRequest("GET", b"/", b"/", b"", [])
    response = HttpResponse(200, "OK", [])

    notice = RequestServed(request, response, 460, 0, 1.0, LISTENER)

    assert (notice.elb_status, notice.response.status) == (460, 200)


def test_reload_without_an_error_went_well() -> None:
    assert FunctionReloaded("app.handler").error == ""

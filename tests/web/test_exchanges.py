"""How the exchanges of a listener end, whatever front they came through."""

import pytest

from gateway.core.errors import IncompleteRequest, Throttled
from gateway.core.http import HttpRequest
from gateway.core.listener import ListenerAddress
from gateway.core.notices import OperatorWarning, RequestServed, TlsNegotiationFailed
from gateway.core.pages import Pages
from gateway.testing import FakeClock, FakeSink
from gateway.web import exchanges
from gateway.web.exchanges import Exchanges

NOW = 1_700_000_000.0
LISTENER = ListenerAddress("https", 8443, "shop.example.org")
REQUEST = HttpRequest("GET", b"/", b"/", b"", [])


def observed() -> tuple[Exchanges, FakeSink]:
    sink = FakeSink()
    return Exchanges(LISTENER, pages=Pages(), sink=sink, clock=FakeClock(NOW)), sink


def test_page_for_an_error_keeps_its_reason_for_the_operator() -> None:
    ends, _ = observed()

    response = ends.refused(REQUEST, Throttled("busy"))

    assert (response.status, response.body) == (502, Pages().page(502).body)
    assert response.forwarding.error_reason == "LambdaThrottling"
    assert response.forwarding.detail == "busy"


def test_notice_of_a_request_has_the_listener() -> None:
    ends, sink = observed()
    response = ends.page(408, REQUEST, "slow")

    ends.note(REQUEST, response, 408, 17)

    assert sink.notices == [RequestServed(REQUEST, response, 408, 17, NOW, LISTENER)]


def test_request_that_is_no_longer_waited_for_is_a_client_that_left() -> None:
    ends, sink = observed()

    ends.cancelled(REQUEST)

    (notice,) = sink.notices
    assert isinstance(notice, RequestServed)
    assert (notice.elb_status, notice.sent_bytes) == (460, 0)
    assert notice.response.forwarding.detail == "ended before the function had answered"


def test_request_whose_client_gets_nothing_has_the_status_of_its_error() -> None:
    ends, sink = observed()

    ends.unanswered(REQUEST, IncompleteRequest("half a body"))

    (notice,) = sink.notices
    assert isinstance(notice, RequestServed)
    assert (notice.elb_status, notice.sent_bytes) == (400, 0)


def test_defect_is_a_page_and_a_warning_with_its_traceback() -> None:
    ends, sink = observed()

    response = ends.defect(REQUEST, ZeroDivisionError("ours"))

    assert response.status == 502
    assert response.forwarding.detail == "ZeroDivisionError('ours')"
    (warning,) = sink.notices
    assert isinstance(warning, OperatorWarning)
    assert warning.text.startswith("the gateway failed:\n")
    assert "ZeroDivisionError: ours" in warning.text


def test_defect_without_a_sink_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    error = ZeroDivisionError("ours")

    Exchanges(LISTENER, pages=Pages(), sink=None, clock=FakeClock(NOW)).failed(error)

    (record,) = [record for record in caplog.records if record.name == exchanges.__name__]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_handshake_that_failed_is_noted() -> None:
    ends, sink = observed()

    ends.note_handshake(("192.0.2.7", 40111), "TIME_OUT")

    assert sink.notices == [TlsNegotiationFailed(("192.0.2.7", 40111), "TIME_OUT", NOW, LISTENER)]

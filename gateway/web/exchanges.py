"""How the exchanges of one listener end, in every front: with the page of an error or the response,
and with a notice for the sink."""

import logging
import traceback

from gateway.core.errors import ClientLeft, GatewayError
from gateway.core.http import Forwarding, HttpRequest, HttpResponse
from gateway.core.interfaces import Clock, Sink
from gateway.core.listener import ListenerAddress
from gateway.core.notices import OperatorWarning, RequestServed, TlsNegotiationFailed
from gateway.core.outcomes import page_of
from gateway.core.pages import Pages

LOGGER = logging.getLogger(__name__)


class Exchanges:
    """Makes the pages of a listener and tells the sink of every request that is over."""

    def __init__(
        self, listener: ListenerAddress, *, pages: Pages, sink: Sink | None, clock: Clock
    ) -> None:
        self._listener = listener
        self._pages = pages
        self._sink = sink
        self._now = clock.now

    def page(self, status: int, request: HttpRequest, detail: str) -> HttpResponse:
        """Return the load balancer's page for what has no error class."""
        response = self._pages.page(status, request)
        response.forwarding = Forwarding(detail=detail)
        return response

    def refused(self, request: HttpRequest, error: GatewayError) -> HttpResponse:
        """Return the page for an error."""
        return page_of(error, request, self._pages, Forwarding())

    def defect(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """Report a defect of the gateway and return the page for it."""
        self.failed(error)
        return self.refused(request, GatewayError(repr(error)))

    def failed(self, error: Exception) -> None:
        """Report a defect of the gateway."""
        if self._sink is None:
            LOGGER.error("the gateway failed", exc_info=error)
        else:
            trace = "".join(traceback.format_exception(error))
            self._sink.emit(OperatorWarning(f"the gateway failed:\n{trace}"))

    def cancelled(self, request: HttpRequest) -> None:
        """Note a request whose invocation is no longer waited for."""
        self.unanswered(request, ClientLeft("ended before the function had answered"))

    def unanswered(self, request: HttpRequest, error: GatewayError) -> None:
        """Note a request whose client gets nothing."""
        response = self.refused(request, error)
        self.note(request, response, response.status, 0)

    def note(
        self, request: HttpRequest, response: HttpResponse, elb_status: int, sent_bytes: int
    ) -> None:
        """Tell the sink of a request that is over."""
        if self._sink is not None:
            now, listener = self._now(), self._listener
            self._sink.emit(RequestServed(request, response, elb_status, sent_bytes, now, listener))

    def note_handshake(self, client: tuple[str, int], reason: str) -> None:
        """Tell the sink of a TLS handshake that has failed."""
        if self._sink is not None:
            self._sink.emit(TlsNegotiationFailed(client, reason, self._now(), self._listener))

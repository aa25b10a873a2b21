"""What a connection needs of the front that made it: settings, clock, pages and counts."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from gateway.core.desync import Mode
from gateway.core.errors import GatewayError
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.interfaces import Responder
from gateway.core.limits import Limits, Progress
from gateway.web.read_rate import ReadRate
from gateway.web.shared_room import SharedRoom


class Shared(Protocol):
    """What all connections share: the front."""

    responder: Responder
    limits: Limits
    mode: Mode
    read_rate: ReadRate
    shared_room: SharedRoom
    date: bytes
    """The Date header's value, no older than a sweep."""

    def now(self) -> float:
        """Return epoch seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def draw(self, count: int, /) -> str:
        """Return random hex digits."""
        ...

    def admit(self, connection: Any, /) -> bool:
        """Count a connection in, or say that there is no room for it."""
        ...

    def replace(self, connection: Any, other: Any, /) -> None:
        """Count another protocol of the same connection in its place."""
        ...

    def linger(self, lingering: Any, /) -> bool:
        """Count a connection among those that linger, or say that there is no room for it."""
        ...

    def forget(self, connection: Any, /) -> None:
        """Count a connection out."""
        ...

    def calm(self, connection: Any, /) -> None:
        """Count a connection that ends with ENHANCE_YOUR_CALM against its address."""
        ...

    def start(self, coroutine: Coroutine[Any, Any, None], /) -> "asyncio.Task[None]":
        """Run a request's coroutine."""
        ...

    def soon(self, callback: Callable[[], None], /) -> None:
        """Call back in the next turn of the event loop."""
        ...

    def is_closing(self, progress: Progress, /) -> bool:
        """Say whether a connection ends after this response."""
        ...

    def oversized(self, head: bytes, /) -> int:
        """Return the status for a head that breaks a size limit, or 0."""
        ...

    def outgrown(self, begun: bytes | bytearray, seen: int, /) -> int:
        """Return the status for the beginning of a head that cannot end within the limits, or 0."""
        ...

    def page(self, status: int, request: HttpRequest, detail: str, /) -> HttpResponse:
        """Return the load balancer's page for what no error class stands for."""
        ...

    def refused(self, request: HttpRequest, error: GatewayError, /) -> HttpResponse:
        """Return the page for an error."""
        ...

    def defect(self, request: HttpRequest, error: Exception, /) -> HttpResponse:
        """Report a defect of the gateway and return the page for it."""
        ...

    def failed(self, error: Exception, /) -> None:
        """Report a defect of the gateway."""
        ...

    def cancelled(self, request: HttpRequest, /) -> None:
        """Note a request whose invocation is no longer waited for."""
        ...

    def unanswered(self, request: HttpRequest, error: GatewayError, /) -> None:
        """Note a request whose client gets nothing."""
        ...

    def note_handshake(self, client: tuple[str, int], reason: str, /) -> None:
        """Tell the sink of a TLS handshake that has failed."""
        ...

    def note(
        self, request: HttpRequest, response: HttpResponse, elb_status: int, sent_bytes: int, /
    ) -> None:
        """Tell the sink about a request that is over."""
        ...

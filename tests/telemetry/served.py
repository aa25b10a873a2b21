"""A request served, with everything plain but for what a test names."""

from dataclasses import replace
from typing import Any

from gateway.core.http import Forwarding, HttpRequest, HttpResponse
from gateway.core.invocation import FunctionRef
from gateway.core.listener import ListenerAddress
from gateway.core.notices import RequestServed

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"

LISTENER = ListenerAddress("http", 80, "shop.example.org")

ARRIVED_AT = 1767607872.324  # 2026-01-05T10:11:12.324Z


class Lines:
    """Keeps what a LineWriter would write."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def write(self, line: str, /) -> None:
        self.taken.append(line)


def request(**fields: Any) -> HttpRequest:
    """Return a GET for /cart, with fields changed."""
    plain = HttpRequest(
        "GET",
        b"/cart",
        b"/cart",
        b"",
        [(b"Host", b"shop.example.org"), (b"User-Agent", b"curl/8.5.0")],
        client=("198.51.100.7", 40111),
        server=("192.0.2.1", 80),
        arrived_at=ARRIVED_AT,
        received_bytes=140,
        connection_id="0123456789abcdef0123456789abcdef",
        trace_id="Root=1-66f0c1a2-5b1d2c3e4f5061728394a5b6",
    )
    return replace(plain, **fields)


def forwarding(**fields: Any) -> Forwarding:
    """Return a forward that the function answered after 21 ms, with fields changed."""
    plain = Forwarding(
        target_group_arn=ARN,
        function=FunctionRef("shop", "live", "arn:aws:lambda:eu-west-1:111122223333:function:shop"),
        executed_version="7",
        target_status=200,
        dispatched_at=ARRIVED_AT + 0.0002,
        target_seconds=0.021,
    )
    return replace(plain, **fields)


def served(
    status: int = 200,
    *,
    asked: HttpRequest | None = None,
    forwarded: Forwarding | None = None,
    seconds: float = 0.021678,
    hint: str = "",
) -> RequestServed:
    """Return the notice of a request that took this many seconds."""
    asked = request() if asked is None else asked
    forwarded = forwarding() if forwarded is None else forwarded
    response = HttpResponse(status, "", [], hint=hint, forwarding=forwarded)
    return RequestServed(asked, response, status, 277, asked.arrived_at + seconds, LISTENER)

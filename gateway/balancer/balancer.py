"""A Responder that forwards every request to one Lambda target group, as a listener's default
rule does.

`begin` and `conclude` are the two halves around the invocation; they wait for nothing, so that
the in-process test client can use them without an event loop. Failures of every kind become
responses in one place, `core.outcomes`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from gateway.core.alb import maybe_refusal
from gateway.core.errors import FunctionUnhandled, GatewayError
from gateway.core.http import Forwarding, HttpRequest, HttpResponse
from gateway.core.interfaces import Clock, EventCodec, Invoker
from gateway.core.invocation import (
    FunctionRef,
    Invocation,
    InvocationResult,
    InvocationType,
    request_id,
)
from gateway.core.outcomes import page_of
from gateway.core.pages import Pages
from gateway.core.tracing import trace_header

DRAWN_FOR_TRACE = 24
DRAWN_FOR_REQUEST = 32
REQUEST_RESPONSE = InvocationType.REQUEST_RESPONSE


@dataclass(frozen=True, slots=True)
class Forward:
    """The action `forward` to a Lambda target group: its ARN, its function, its form of events, and
    the priority of the rule whose action it is, 0 for the default rule."""

    target_group_arn: str
    function: FunctionRef
    codec: EventCodec
    rule_priority: int = 0


class Balancer:
    """Forwards to the target group and maps the reply, or the failure, to HTTP."""

    def __init__(
        self,
        forward: Forward,
        invoker: Invoker,
        *,
        pages: Pages,
        clock: Clock,
        draw: Callable[[int], str],
    ) -> None:
        self._target_group_arn = forward.target_group_arn
        self._rule_priority = forward.rule_priority
        self._codec = forward.codec
        self._function = forward.function
        self._invoker = invoker
        self._pages = pages
        self._now = clock.now
        self._monotonic = clock.monotonic
        self._draw = draw

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        """Return the function's response, or the load balancer's own page."""
        forwarding = Forwarding()
        try:
            invocation = self.begin(request, forwarding)
            started = self._monotonic()
            result = await self._invoker.invoke(invocation)
            forwarding.target_seconds = self._monotonic() - started
            return self.conclude(request, forwarding, result)
        except GatewayError as error:
            return self.failed(request, forwarding, error)

    def begin(self, request: HttpRequest, forwarding: Forwarding) -> Invocation:
        """Return the invocation that a request becomes; raises RequestRefused."""
        forwarding.target_group_arn = self._target_group_arn
        forwarding.rule_priority = self._rule_priority
        forwarding.function = self._function
        if refused := maybe_refusal(request):
            raise refused
        digits = self._draw(DRAWN_FOR_TRACE + DRAWN_FOR_REQUEST)
        now = self._now()
        request.trace_id = trace_header(request.headers, now=now, draw=digits[:DRAWN_FOR_TRACE])
        payload = self._codec.encode(request)
        forwarding.request_id = request_id(digits[DRAWN_FOR_TRACE:])
        forwarding.dispatched_at = now
        return Invocation(
            forwarding.request_id, self._function, payload, 0, REQUEST_RESPONSE, request.trace_id
        )

    def conclude(
        self, request: HttpRequest, forwarding: Forwarding, result: InvocationResult
    ) -> HttpResponse:
        """Return the response that a result means; raises FunctionUnhandled or
        BadFunctionResponse."""
        forwarding.log = result.log
        forwarding.executed_version = result.executed_version
        if result.function_error:
            raise FunctionUnhandled(error_text(result.payload))
        response = self._codec.decode(result.payload, request)
        forwarding.target_status = response.status
        response.forwarding = forwarding
        return self._pages.completed(response)

    def failed(
        self, request: HttpRequest, forwarding: Forwarding, error: GatewayError
    ) -> HttpResponse:
        """Return the page for an error."""
        return page_of(error, request, self._pages, forwarding)


def error_text(payload: bytes) -> str:
    """Return `errorType: errorMessage` of a function error, or the payload's beginning."""
    try:
        error = orjson.loads(payload)
        kind, message = error.get("errorType", ""), error.get("errorMessage", "")
    except (ValueError, AttributeError):
        return payload[:200].decode(errors="replace")
    return f"{kind}: {message}" if kind and message else str(kind or message or "")

"""The Protocols everyone agrees on: two shapes (Responder, Invoker) and the bridge between them
(EventCodec)."""

from collections.abc import Awaitable
from typing import Protocol

from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.invocation import Invocation, InvocationResult
from gateway.core.notices import Notice


class Responder(Protocol):
    """Answers every request; failures become responses, never exceptions."""

    def respond(self, request: HttpRequest, /) -> Awaitable[HttpResponse]:
        """Return the complete response."""
        ...


class Invoker(Protocol):
    """Runs a function once; a function that failed is a result, a platform that failed raises
    GatewayError."""

    def invoke(self, invocation: Invocation, /) -> Awaitable[InvocationResult]:
        """Return what the function answered; the run goes on even if the caller stops waiting."""
        ...


class EventCodec(Protocol):
    """Turns a request into an event and a reply into a response."""

    def encode(self, request: HttpRequest, /) -> bytes:
        """Return the event as JSON; raises BadRequestContent."""
        ...

    def decode(self, payload: bytes, request: HttpRequest, /) -> HttpResponse:
        """Return the response that a reply means; raises BadFunctionResponse with the field and the
        reason."""
        ...


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Return epoch seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...


class Sink(Protocol):
    """Receives notices; must not block and must not raise."""

    def emit(self, notice: Notice, /) -> None:
        """Receive a notice."""
        ...

"""The Protocols everyone agrees on: two shapes (Responder, Invoker) and the bridge between them
(EventCodec)."""

from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.core.concurrency import Done, Lease
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


class Leases(Protocol):
    """Grants the right to run: up to a limit of a version's invocations at once, the others in the
    order in which they came. The caller of an invoker takes the lease, so the invoker may rely on
    the limit."""

    def take(self, version: Hashable, /) -> Lease | None:
        """Return a lease when one is free now, and None otherwise."""
        ...

    def wait(self, version: Hashable, /) -> Awaitable[Lease]:
        """Return a lease after `take` had none; raises Throttled when none comes in time."""
        ...

    def acquire(self, version: Hashable, done: Done, /) -> Callable[[], None] | None:
        """Call `done` once with a lease or a refusal: now, and then return None, when a lease is
        free or no caller may wait; else later, and return what leaves the queue, after which
        `done` is not called."""
        ...

    def hold(self, version: Hashable, /) -> Lease:
        """Return a lease whatever the limit. An invoker asks for it, in the same step in which it
        returns or raises, when its run goes on: the caller gives its own lease back then, and an
        environment counts until it is free (lambda.md 7)."""
        ...

    def of(self, version: Hashable, /) -> AbstractAsyncContextManager[Lease]:
        """Return what takes a lease for the length of an `async with`, after waiting if need be;
        raises Throttled on entering. Its two coroutines cost more than `take`, else `wait`, which
        is the form for the data path."""
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

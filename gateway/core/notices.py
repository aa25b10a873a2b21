"""What happened, as values for observers; whoever listens is a sink."""

from dataclasses import dataclass

from gateway.core.http import HttpRequest, HttpResponse


@dataclass(slots=True)
class RequestServed:
    """A request got its response, or its client left before it."""

    request: HttpRequest
    response: HttpResponse
    elb_status: int
    """What the access log says: the status sent, or 460 when the client had gone."""
    sent_bytes: int
    """Head and body written, without TLS and TCP."""
    completed_at: float
    """Epoch seconds when the response was generated."""


@dataclass(slots=True)
class FunctionReloaded:
    """The handler was imported afresh, or could not be."""

    handler: str
    error: str = ""
    """Empty when the new code is in place; otherwise why the next invocations fail."""


@dataclass(slots=True)
class OperatorWarning:
    """Something the operator should know that belongs to no single request."""

    text: str


Notice = RequestServed | FunctionReloaded | OperatorWarning

"""What happened, as values for observers, which are sinks.

A sink serves many listeners and functions, so a notice says which ones it is about.
"""

from dataclasses import dataclass
from typing import Literal

from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.listener import ListenerAddress

Status = Literal["success", "timeout", "error"]
"""How an init phase or an invocation ended (lambda.md 2.3)."""


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
    listener: ListenerAddress
    """Target group, function and version are in `response.forwarding`."""


@dataclass(slots=True)
class TlsNegotiationFailed:
    """A TLS handshake of a client failed: the metric ClientTLSNegotiationErrorCount (alb.md
    4.13)."""

    client: tuple[str, int]
    reason: str
    """OpenSSL's reason, TIME_OUT, CLIENT_LEFT or TOO_MANY."""
    at: float
    """Epoch seconds."""
    listener: ListenerAddress


@dataclass(slots=True)
class FunctionReloaded:
    """The handler was imported afresh, or could not be."""

    handler: str
    error: str = ""
    """Empty when the new code is in place; otherwise why the next invocations fail."""
    function: str = ""
    version: str = ""


@dataclass(slots=True)
class OperatorWarning:
    """Something the operator should know that belongs to no single request."""

    text: str
    function: str = ""
    version: str = ""
    """Empty where it belongs to no function, or to no version of its."""


@dataclass(slots=True)
class LogStream:
    """Where CloudWatch Logs would keep what one execution environment writes (lambda.md 9.1)."""

    group: str
    name: str
    function_name: str
    version: str
    environment_id: str
    runtime_version: str
    """As INIT_START shows it, such as `python:3.12.v18`; empty when the runtime has none."""
    memory_mb: int
    function_arn: str = ""


@dataclass(slots=True)
class LogEntry:
    """One CloudWatch Logs event: a line, or a record of several lines from the log pipe."""

    at: float
    """Epoch seconds."""
    text: str
    """Without the last line end."""
    level: str = ""
    """`TRACE` to `FATAL` when the runtime named it, else empty."""
    is_json: bool = False
    """The runtime says that the text is a JSON object."""


@dataclass(slots=True)
class InitStarted:
    """An execution environment began its init phase."""

    stream: LogStream
    at: float
    """Epoch seconds."""
    phase: Literal["init", "invoke"] = "init"


@dataclass(slots=True)
class InitReported:
    """An init phase ended; the line INIT_REPORT shows one that failed (lambda.md 9.1)."""

    stream: LogStream
    at: float
    """Epoch seconds of the end."""
    phase: Literal["init", "invoke"]
    """`invoke` for an init that runs inside an invocation (lambda.md 1.10)."""
    status: Status
    error_type: str
    """Normalised (lambda.md 1.3), empty without one."""
    init_ms: float
    entries: list[LogEntry]
    """What was written during it."""


@dataclass(slots=True)
class InvocationReported:
    """An invocation is over, with everything that its log says: START, output, END and REPORT."""

    stream: LogStream
    request_id: str
    started_at: float
    completed_at: float
    """Epoch seconds, both."""
    entries: list[LogEntry]
    duration_ms: float
    billed_ms: int
    max_memory_mb: int
    init_ms: float | None
    """None but for the first invocation of an environment."""
    status: Status
    error_type: str
    """Normalised (lambda.md 1.3), empty without one."""
    trace_id: str
    """The value of X-Amzn-Trace-Id that the runtime got; empty without one."""
    produced_bytes: int | None = None
    """Size of the response; None when it was not measured."""


Notice = (
    RequestServed
    | TlsNegotiationFailed
    | FunctionReloaded
    | OperatorWarning
    | InitStarted
    | InitReported
    | InvocationReported
)

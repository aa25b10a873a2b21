"""What answers a poll: the headers and the payload of an invocation (lambda.md 1.2)."""

from gateway.core.invocation import Invocation
from gateway.runtime.api_routes import Event


def event_of(invocation: Invocation, invocation_id: str, deadline_ms: int) -> Event:
    """Return headers and payload; `deadline_ms` counts where the caller has set no deadline."""
    lines = (
        "Content-Type: application/json\r\n"
        f"Lambda-Runtime-Aws-Request-Id: {invocation.request_id}\r\n"
        f"Lambda-Runtime-Deadline-Ms: {invocation.deadline_ms or deadline_ms}\r\n"
        f"Lambda-Runtime-Invoked-Function-Arn: {invocation.function.arn}\r\n"
        f"Lambda-Runtime-Invocation-Id: {invocation_id}\r\n"
    )
    if invocation.trace_id:
        lines += f"Lambda-Runtime-Trace-Id: {one_line(invocation.trace_id)}\r\n"
    if invocation.client_context:
        lines += f"Lambda-Runtime-Client-Context: {one_line(invocation.client_context)}\r\n"
    return Event(lines.encode(errors="replace"), invocation.payload)


def one_line(text: str) -> str:
    """Return a text that can be a header's value."""
    return text.replace("\r", " ").replace("\n", " ")

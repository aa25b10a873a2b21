"""What is asked of a function and what came of it; the payloads are bytes that
nothing in between parses."""

from dataclasses import dataclass
from enum import StrEnum

LATEST = "$LATEST"
"""The version of a function that is not published, and the qualifier that names it."""


class InvocationType(StrEnum):
    """How the caller wants the invocation (lambda.md 3.1)."""

    REQUEST_RESPONSE = "RequestResponse"
    EVENT = "Event"
    DRY_RUN = "DryRun"


class LogType(StrEnum):
    """Whether the caller wants the tail of the log with the result (lambda.md 3.1)."""

    NONE = "None"
    TAIL = "Tail"


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """The function that a caller named."""

    name: str
    qualifier: str
    arn: str
    """As the caller used it: with alias or version when it named one (lambda.md 1.2)."""


@dataclass(slots=True)
class Invocation:
    """One call of a function."""

    request_id: str
    function: FunctionRef
    payload: bytes
    deadline_ms: int = 0
    """Epoch milliseconds; 0 lets the invoker count the function's timeout from the start of the
    run."""
    type: InvocationType = InvocationType.REQUEST_RESPONSE
    trace_id: str = ""
    client_context: str = ""
    """JSON text, already base64-decoded."""
    log_type: LogType = LogType.NONE


@dataclass(slots=True)
class InvocationResult:
    """What the function, or its runtime, answered."""

    payload: bytes
    executed_version: str = LATEST
    function_error: str = ""
    """Empty, `Handled` or `Unhandled` (lambda.md 3.5)."""
    log: str = ""
    """Everything the function wrote during this invocation, capped by the invoker."""
    billed_ms: int = 0
    init_ms: int = 0
    max_memory_mb: int = 0
    log_tail: bytes = b""
    """The last 4 KB of the invocation's log, START to REPORT; filled by execution environments, and
    only when the invocation asked for it."""


def request_id(digits: str) -> str:
    """Return 32 drawn hex digits in the form of a version 4 UUID (RFC 9562 section 5.4)."""
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

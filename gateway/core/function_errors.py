"""What a caller gets for a function that gave no answer of its own, in AWS's words (lambda.md
3.5)."""

import re
from typing import Any

import orjson

from gateway.core.notices import LogEntry

MAX_RESPONSE_BYTES = 6_291_556
"""6 MiB and 100 bytes: the ceiling of a buffered response (lambda.md 1.2)."""

ERROR_TYPE = re.compile(r"(Runtime|Function)\.[A-Z][a-zA-Z]+")


LASTING = frozenset(
    {
        "Runtime.BuiltInModuleConflict",
        "Runtime.HandlerNotFound",
        "Runtime.ImportModuleError",
        "Runtime.InvalidEntrypoint",
        "Runtime.MalformedHandlerName",
        "Runtime.UserCodeSyntaxError",
    }
)
"""Error types of an init that fails again however often it is tried (lambda.md 1.6): a file or an
attribute is not there, or the code cannot be read."""


def exit_reason(status: int | None) -> str:
    """Return how a runtime ended, from an exit status as `subprocess` has it; None for unknown."""
    if status is None or status == 0:
        return "Runtime exited without providing a reason"
    if status < 0:
        return f"Runtime exited with error: signal: {SIGNALS.get(-status, f'signal {-status}')}"
    return f"Runtime exited with error: exit status {status}"


SIGNALS = {
    1: "hangup",
    2: "interrupt",
    3: "quit",
    4: "illegal instruction",
    6: "aborted",
    7: "bus error",
    8: "floating point exception",
    9: "killed",
    11: "segmentation fault",
    13: "broken pipe",
    14: "alarm clock",
    15: "terminated",
}
"""Go's words for signals, which AWS's engine prints."""


def exited(request_id: str, status: int | None) -> bytes:
    """Return the payload for a runtime that ended in the middle of an invocation."""
    return _payload("Runtime.ExitError", f"RequestId: {request_id} Error: {exit_reason(status)}")


def timed_out(request_id: str, seconds: float) -> bytes:
    """Return the payload for a function that ran past its timeout."""
    text = f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
    return _payload("Sandbox.Timedout", text)


def invalid_entrypoint(request_id: str, why: str) -> bytes:
    """Return the payload for a runtime that could not be started (lambda.md 1.8)."""
    return _payload("Runtime.InvalidEntrypoint", f"RequestId: {request_id} Error: {why}")


def truncated(request_id: str) -> bytes:
    """Return the payload for a response whose end never came."""
    text = f"RequestId: {request_id} Error: the response was not sent to its end"
    return _payload("Runtime.TruncatedResponse", text)


def without_cause(body: bytes) -> bytes:
    """Return what the caller gets of an error that was posted together with its cause for X-Ray
    (lambda.md 1.3)."""
    fields = _maybe_object(body)
    if fields is None:
        return INVALID_ERROR_BODY
    names = ("errorMessage", "errorType", "stackTrace")
    return orjson.dumps({name: fields[name] for name in names if fields.get(name)})


INVALID_ERROR_BODY = b'"Invalid error body"'


def _payload(error_type: str, message: str) -> bytes:
    return orjson.dumps({"errorType": error_type, "errorMessage": message})


TOO_LARGE = _payload(
    "Function.ResponseSizeTooLarge",
    f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).",
)


def told_failure(entries: list[LogEntry]) -> str:
    """Return what a runtime wrote about its own failure, in a line; empty when it wrote nothing.

    That is the last record of level ERROR, `[ERROR] TYPE: MESSAGE` and a traceback in the text
    format; without one, the last line that the function wrote.
    """
    if not entries:
        return ""
    record = next((entry for entry in reversed(entries) if entry.level == "ERROR"), entries[-1])
    fields = _maybe_object(record.text) if record.is_json else None
    if fields is not None and "errorType" in fields:
        return f"{fields['errorType']}: {fields.get('errorMessage', '')}".partition("\n")[0]
    return record.text.lstrip().partition("\n")[0].removeprefix("[ERROR] ")


def lasting_failure(payload: bytes) -> str:
    """Return type and message of an init that fails again however often it is tried; empty for the
    payload of anything else."""
    fields = _maybe_object(payload)
    if fields is None or fields.get("errorType") not in LASTING:
        return ""
    return f"{fields['errorType']}: {fields.get('errorMessage', '')}"


def _maybe_object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def normalised(error_type: str) -> str:
    """Return an error type as telemetry and log lines show it (lambda.md 1.3)."""
    if ERROR_TYPE.search(error_type):
        return error_type
    return "Function.Unknown" if error_type.startswith("Function.") else "Runtime.Unknown"

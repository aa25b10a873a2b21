"""Notices about an execution environment, with everything plain but for what a test names."""

from dataclasses import replace
from typing import Any

from gateway.core.notices import InitReported, InitStarted, InvocationReported, LogEntry, LogStream

AT = 1791444627.768  # 2026-10-08T07:30:27.768Z

REQUEST_ID = "79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36"

STREAM = LogStream(
    "/aws/lambda/shop",
    "2026/10/08/[$LATEST]22be53a8cfde4e68b844f8ec293b2543",
    "shop",
    "$LATEST",
    "22be53a8cfde4e68b844f8ec293b2543",
    "python:3.12.v18",
    128,
    "arn:aws:lambda:eu-central-1:111122223333:function:shop",
)


def init_started(**fields: Any) -> InitStarted:
    """Return the beginning of an init phase."""
    return replace(InitStarted(STREAM, AT), **fields)


def init_reported(**fields: Any) -> InitReported:
    """Return the end of an init phase that went well."""
    plain = InitReported(STREAM, AT + 0.4, "init", "success", "", 463.5124, [])
    return replace(plain, **fields)


def invocation_reported(*texts: str, **fields: Any) -> InvocationReported:
    """Return the end of a warm invocation of 3.01 ms that wrote these lines."""
    plain = InvocationReported(
        stream=STREAM,
        request_id=REQUEST_ID,
        started_at=AT,
        completed_at=AT + 0.00301,
        entries=[LogEntry(AT + 0.001, text) for text in texts],
        duration_ms=3.01,
        billed_ms=4,
        max_memory_mb=36,
        init_ms=None,
        status="success",
        error_type="",
        trace_id="",
    )
    return replace(plain, **fields)

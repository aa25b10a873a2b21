"""What Lambda writes to a function's log: START, END, REPORT and their JSON forms (lambda.md 9.1,
9.2).

A notice becomes a list of entries, one per CloudWatch Logs event, in the order in which AWS writes
them. In the text format, which is here, only an init phase that failed gets a line of its own.
"""

import math

from gateway.core import json_report
from gateway.core.log_names import runtime_version_arn
from gateway.core.logging_config import TEXT, LoggingConfig
from gateway.core.notices import (
    InitReported,
    InitStarted,
    InvocationReported,
    LogEntry,
    LogStream,
    Notice,
)

TAIL_BYTES = 4 * 1024
"""What `X-Amz-Log-Result` shows of an invocation's log (lambda.md 9.1)."""


def billed_ms(duration_ms: float, init_ms: float | None) -> int:
    """Return the whole milliseconds to pay for: since August 2025 the init phase counts too."""
    # To microseconds first: the difference of two clock readings may be 4.0000000000000036.
    return max(1, math.ceil(round(duration_ms + (init_ms or 0.0), 3)))


def log_tail(notice: InvocationReported, config: LoggingConfig = TEXT) -> bytes:
    """Return the last 4 KB of an invocation's log, START to REPORT, in whole characters."""
    parts: list[bytes] = []
    room = TAIL_BYTES
    for entry in reversed(entries(notice, config)):
        parts.append(f"{entry.text}\n".encode(errors="backslashreplace"))
        room -= len(parts[-1])
        if room <= 0:
            break
    tail = b"".join(reversed(parts))[-TAIL_BYTES:]
    begin = next((place for place, byte in enumerate(tail[:3]) if byte & 0xC0 != 0x80), 3)
    return tail[begin:]


def entries(notice: Notice, config: LoggingConfig = TEXT) -> list[LogEntry]:
    """Return what a notice adds to the log of its environment; nothing for other notices."""
    is_json = config.log_format == "JSON"
    if isinstance(notice, InvocationReported):
        told = json_report.invocation_reported
        return told(notice, config) if is_json else _text_invocation(notice)
    if isinstance(notice, InitReported):
        return json_report.init_reported(notice, config) if is_json else _text_init(notice)
    if isinstance(notice, InitStarted):
        return json_report.started(notice, config) if is_json else _text_start(notice)
    return []


def init_start_line(stream: LogStream) -> str:
    """Return the line INIT_START."""
    arn = runtime_version_arn(stream.runtime_version, stream.function_arn)
    return f"INIT_START Runtime Version: {stream.runtime_version}\tRuntime Version ARN: {arn}"


def init_report_line(notice: InitReported) -> str:
    """Return the line INIT_REPORT."""
    line = f"INIT_REPORT Init Duration: {notice.init_ms:.2f} ms\tPhase: {notice.phase}"
    return line + _status_fields(notice)


def report_line(notice: InvocationReported) -> str:
    """Return REPORT, with the second line XRAY when the trace is sampled.

    The tab at the end belongs to an invocation that went well: recorded ones with a status, such
    as `Max Memory Used: 35 MB\\tStatus: timeout\\n` (September 2025), have none.
    """
    init = "" if notice.init_ms is None else f"\tInit Duration: {notice.init_ms:.2f} ms"
    return (
        f"REPORT RequestId: {notice.request_id}\tDuration: {notice.duration_ms:.2f} ms\t"
        f"Billed Duration: {notice.billed_ms} ms\tMemory Size: {notice.stream.memory_mb} MB\t"
        f"Max Memory Used: {notice.max_memory_mb} MB{init}"
        f"{_status_fields(notice)}{_xray(notice.trace_id)}"
    )


def _status_fields(notice: InitReported | InvocationReported) -> str:
    if notice.status == "success":
        return "\t"
    is_named = notice.status == "error" and notice.error_type
    return f"\tStatus: {notice.status}" + (f"\tError Type: {notice.error_type}" if is_named else "")


def _xray(trace_id: str) -> str:
    if "Sampled=1" not in trace_id:
        return ""
    fields = dict(item.strip().partition("=")[::2] for item in trace_id.split(";"))
    segment = f"SegmentId: {fields['Parent']}\t" if "Parent" in fields else ""
    return f"\nXRAY TraceId: {fields.get('Root', '')}\t{segment}Sampled: true\t"


def _text_start(notice: InitStarted) -> list[LogEntry]:
    """Return INIT_START: not for an init inside an invocation, nor without a runtime version."""
    if notice.phase == "invoke" or not notice.stream.runtime_version:
        return []
    return [LogEntry(notice.at, init_start_line(notice.stream))]


def _text_init(notice: InitReported) -> list[LogEntry]:
    if notice.status == "success":
        return notice.entries
    return [*notice.entries, LogEntry(notice.at, init_report_line(notice))]


def _text_invocation(notice: InvocationReported) -> list[LogEntry]:
    request_id, end = notice.request_id, notice.completed_at
    start = f"START RequestId: {request_id} Version: {notice.stream.version}"
    return [
        LogEntry(notice.started_at, start),
        *notice.entries,
        LogEntry(end, f"END RequestId: {request_id}"),
        LogEntry(end, report_line(notice)),
    ]

"""A function's log in the JSON format: the platform's records, and what the function wrote
(lambda.md 2.3, 9.2).

The order of members is that of records from 2024 to 2026; every record has a level, and the
function's configuration says which levels are kept.
"""

import re
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.core.log_names import runtime_version_arn
from gateway.core.logging_config import LoggingConfig
from gateway.core.notices import InitReported, InitStarted, InvocationReported, LogEntry

RANKS = {"TRACE": 0, "DEBUG": 1, "INFO": 2, "WARN": 3, "ERROR": 4, "FATAL": 5}
ALIASES = {"WARNING": "WARN", "CRITICAL": "FATAL"}
"""Python's names for two of the levels."""

TIME_MEMBERS = ("timestamp", "time", "@timestamp")
# The guide on log-level filtering: a timestamp that Lambda uses is in the form of RFC 3339.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)

JsonMembers = dict[str, Any]


def started(notice: InitStarted, config: LoggingConfig) -> list[LogEntry]:
    """Return platform.initStart."""
    stream = notice.stream
    version, arn = stream.runtime_version, stream.function_arn
    known = {"runtimeVersion": version, "runtimeVersionArn": runtime_version_arn(version, arn)}
    record = {
        "initializationType": "on-demand",
        "phase": notice.phase,
        **(known if version else {}),
        "functionName": stream.function_name,
        "functionVersion": stream.version,
        "instanceId": stream.name,
        "instanceMaxMemory": stream.memory_mb * 1024 * 1024,
    }
    level = "INFO" if version else "DEBUG"
    return _system(config, level, notice.at, "platform.initStart", record)


def init_reported(notice: InitReported, config: LoggingConfig) -> list[LogEntry]:
    """Return the output of an init phase, platform.initRuntimeDone and platform.initReport."""
    level = "DEBUG" if notice.status == "success" else "WARN"
    done = {"initializationType": "on-demand", "phase": notice.phase, **_status(notice)}
    report = {**done, "metrics": {"durationMs": round(notice.init_ms, 3)}}
    return [
        *_applications(notice.entries, config),
        *_system(config, level, notice.at, "platform.initRuntimeDone", done),
        *_system(config, level, notice.at, "platform.initReport", report),
    ]


def invocation_reported(notice: InvocationReported, config: LoggingConfig) -> list[LogEntry]:
    """Return platform.start, the output of an invocation, platform.runtimeDone and
    platform.report."""
    went_well, end = notice.status == "success", notice.completed_at
    stream, identity = notice.stream, {"requestId": notice.request_id}
    arn = {"functionArn": stream.function_arn} if stream.function_arn else {}
    start = {**identity, **arn, "version": stream.version}
    done = {**identity, **_status(notice), "metrics": _done_metrics(notice)}
    report = {**identity, "metrics": _report_metrics(notice), **_status(notice)}
    done_level, report_level = ("DEBUG", "INFO") if went_well else ("WARN", "WARN")
    return [
        *_system(config, "INFO", notice.started_at, "platform.start", start),
        *_applications(notice.entries, config),
        *_system(config, done_level, end, "platform.runtimeDone", done),
        *_system(config, report_level, end, "platform.report", report),
    ]


def _status(notice: InitReported | InvocationReported) -> JsonMembers:
    error = {"errorType": notice.error_type} if notice.error_type else {}
    return {"status": notice.status, **error}


def _done_metrics(notice: InvocationReported) -> JsonMembers:
    produced = notice.produced_bytes
    metrics = {"durationMs": round(notice.duration_ms, 3)}
    return metrics if produced is None else {**metrics, "producedBytes": produced}


def _report_metrics(notice: InvocationReported) -> JsonMembers:
    init = {} if notice.init_ms is None else {"initDurationMs": round(notice.init_ms, 3)}
    return {
        "durationMs": round(notice.duration_ms, 3),
        "billedDurationMs": notice.billed_ms,
        "memorySizeMB": notice.stream.memory_mb,
        "maxMemoryUsedMB": notice.max_memory_mb,
        **init,
    }


def _system(
    config: LoggingConfig, level: str, at: float, kind: str, record: JsonMembers
) -> list[LogEntry]:
    """Return a record of the platform, or nothing when its level is not wanted."""
    if not is_wanted(level, config.system_log_level):
        return []
    text = orjson.dumps({"time": _stamp(at), "type": kind, "record": record}).decode()
    return [LogEntry(at, text, level, is_json=True)]


def _applications(found: list[LogEntry], config: LoggingConfig) -> list[LogEntry]:
    """Return what the function wrote, as far as its level is wanted.

    Plain text without a level is kept as it is: that is how warnings on standard error appear
    between the JSON records of real functions, and there is nothing to filter by.
    """
    completed = map(_completed, found)
    least = config.application_log_level
    return [entry for entry in completed if not entry.level or is_wanted(entry.level, least)]


def is_wanted(level: str, least: str) -> bool:
    """Say whether a level reaches the least one wanted; an unknown one counts as INFO."""
    return RANKS[known_level(level)] >= RANKS[known_level(least)]


def known_level(name: object) -> str:
    """Return `TRACE` to `FATAL` for the name of a level, INFO for anything else."""
    upper = str(name).upper()
    level = ALIASES.get(upper, upper)
    return level if level in RANKS else "INFO"


def _completed(entry: LogEntry) -> LogEntry:
    """Return an entry with its level; a JSON object also gets the level and time it lacks.

    An object is never encoded again (lambda.md 9.2); without a valid time its level is INFO.
    """
    members = _maybe_object(entry.text)
    if members is None:
        return entry
    has_time = any(TIME.fullmatch(str(members.get(name))) for name in TIME_MEMBERS)
    level = entry.level or (known_level(members.get("level")) if has_time else "INFO")
    missing = {} if members.keys() & set(TIME_MEMBERS) else {"timestamp": _stamp(entry.at)}
    if "level" not in members:
        missing["level"] = level
    return LogEntry(entry.at, _with_members(missing, entry.text, members), level, is_json=True)


def _with_members(missing: JsonMembers, text: str, members: JsonMembers) -> str:
    """Return the object's text with members put in front, everything else as it was written."""
    if not missing:
        return text
    separator = "," if members else ""
    return orjson.dumps(missing).decode()[:-1] + separator + text.lstrip()[1:]


def _maybe_object(text: str) -> JsonMembers | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = orjson.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _stamp(at: float) -> str:
    """Return `2026-10-08T07:30:27.768Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"

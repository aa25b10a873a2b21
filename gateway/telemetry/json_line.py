"""A notice as one line of JSON, for programs that read the console."""

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.core.http import Forwarding
from gateway.core.notices import (
    FunctionReloaded,
    InitReported,
    Notice,
    OperatorWarning,
    RequestServed,
)
from gateway.telemetry.timestamp import iso
from gateway.telemetry.visible import visible_json

OPTIONAL = ("target_group_arn", "request_id", "error_reason", "detail", "log")
"""What a forward may say under the names it has there; left out when empty."""

NAMED = ("function", "version")
"""What a notice may belong to; left out when empty."""


def json_line(notice: Notice) -> str:
    """Return one object without a line end, or nothing for what another line tells already.

    What a function printed in an invocation is in the line of its request.
    """
    members = _members(notice)
    return object_line(members) if members else ""


def object_line(members: dict[str, Any]) -> str:
    """Return an object on one line that a terminal may show."""
    try:
        line = orjson.dumps(members).decode()
    except TypeError:  # a lone surrogate, which UTF-8 cannot carry
        line = orjson.dumps({key: _valid(value) for key, value in members.items()}).decode()
    # JSON leaves some characters as they are that a terminal obeys, or that end a line.
    return visible_json(line)


def _members(notice: Notice) -> dict[str, Any]:
    if isinstance(notice, RequestServed):
        return _request_members(notice)
    if isinstance(notice, FunctionReloaded):
        told = {"type": "FunctionReloaded", "handler": notice.handler, "error": notice.error}
        return told | _present(notice, NAMED)
    if isinstance(notice, OperatorWarning):
        return {"type": "OperatorWarning", "text": notice.text} | _present(notice, NAMED)
    return _init_members(notice) if isinstance(notice, InitReported) else {}


def _init_members(notice: InitReported) -> dict[str, Any]:
    if notice.status == "success" and not notice.entries:
        return {}
    return {
        "type": "InitReported",
        "time": iso(notice.at),
        "function": notice.stream.function_name,
        "version": notice.stream.version,
        "log_stream": notice.stream.name,
        "phase": notice.phase,
        "status": notice.status,
        "error_type": notice.error_type,
        "init_ms": round(notice.init_ms, 3),
        "log": "".join(f"{entry.text}\n" for entry in notice.entries),
    }


def _request_members(notice: RequestServed) -> dict[str, Any]:
    request, listener = notice.request, notice.listener
    forwarding = notice.response.forwarding
    members: dict[str, Any] = {
        "type": "RequestServed",
        "time": iso(notice.completed_at),
        "listener": f"{listener.scheme}:{listener.port}",
        "client": request.client[0],
        "client_port": request.client[1],
        "method": request.method,
        "path": request.raw_path.decode("utf-8", "backslashreplace"),
        "status": notice.elb_status,
        "total_ms": round((notice.completed_at - request.arrived_at) * 1000, 3),
        "handler_ms": _handler_ms(forwarding),
        "sent_bytes": notice.sent_bytes,
        "trace_id": request.trace_id,
    }
    if request.query_string:
        members["query"] = request.query_string.decode("utf-8", "backslashreplace")
    if notice.response.hint:
        members["hint"] = notice.response.hint
    if forwarding.function is not None:
        members["function"] = forwarding.function.name
    if forwarding.executed_version:
        members["version"] = forwarding.executed_version
    return members | _present(forwarding, OPTIONAL)


def _present(holder: object, names: Iterable[str]) -> dict[str, str]:
    """Return those of the attributes that are not empty."""
    values = ((name, getattr(holder, name)) for name in names)
    return {name: value for name, value in values if value}


def _handler_ms(forwarding: Forwarding) -> float | None:
    """Return how long the function took, None when it did not run or did not answer."""
    seconds = forwarding.target_seconds
    return round(seconds * 1000, 3) if seconds >= 0 else None


def _valid(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value

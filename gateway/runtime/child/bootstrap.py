"""What AWS's Python runtime does with a handler, an event and a result.

The oracle is AWS's own client, awslambdaric 4.2.2: same texts, same JSON. The files of this package
import nothing but the standard library and each other, and orjson if it is there, on Python 3.9 to
3.14: a process of an environment executes `__main__.py` by path. The in-process invoker imports
them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from .lambda_context import FunctionSettings, LambdaContext
from .logs import LOG_TIME
from .marshaller import Fault, marshal, to_json, to_utf8, unmarshal

MAX_RESPONSE_BYTES = 6_291_556  # 6 MiB and 100 bytes: interop.MaxPayloadSize of AWS's emulator


class InitError(Fault):
    """The handler could not be loaded."""


def load_handler(handler: str) -> Callable[[Any, Any], Any]:
    """Import the module that `handler` names and return its attribute, or raise InitError.

    Like AWS's, it does not ask whether the attribute can be called.
    """
    try:
        return _find_handler(handler)
    except InitError:
        raise
    except Exception as error:
        message, error_type, stack_trace = _report(error)
        raise InitError(error_type, message, stack_trace) from error
    except BaseException as error:
        _write_last_words(error)
        raise InitError("Runtime.ExitError", _exit_reason(error)) from error


def _find_handler(handler: str) -> Callable[[Any, Any], Any]:
    try:
        module_name, name = handler.rsplit(".", 1)
    except ValueError as error:
        message = f"Bad handler '{handler}': {error}"
        raise InitError("Runtime.MalformedHandlerName", message) from error
    module = _import_handler_module(module_name)
    try:
        found: Callable[[Any, Any], Any] = getattr(module, name)
    except AttributeError as error:
        message = f"Handler '{name}' missing on module '{module_name}'"
        raise InitError("Runtime.HandlerNotFound", message) from error
    return found


def _import_handler_module(name: str) -> ModuleType:
    if name.partition(".")[0] in sys.builtin_module_names:
        message = f"Cannot use built-in module {name} as a handler module"
        raise InitError("Runtime.BuiltInModuleConflict", message)
    try:
        return importlib.import_module(name.replace("/", "."))
    except ImportError as error:
        message = f"Unable to import module '{name}': {error}"
        raise InitError("Runtime.ImportModuleError", message) from error
    except SyntaxError as error:
        message = f"Syntax error in module '{name}': {error}"
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise InitError("Runtime.UserCodeSyntaxError", message, trace) from error


def _report(error: BaseException) -> tuple[str, str, list[str]]:
    """Return message, type and stack trace."""
    if isinstance(error, Fault):
        return error.message, error.error_type, error.stack_trace
    return str(error), type(error).__name__, _stack_trace(error)


def _stack_trace(error: BaseException) -> list[str]:
    """Return the user's part of the trace; all of it when there is no such part, as AWS does."""
    # A tuple carries no columns, so that no carets come below the code (Python 3.11).
    summaries = traceback.extract_tb(error.__traceback__)
    frames = [(frame.filename, frame.lineno or 0, frame.name, frame.line) for frame in summaries]
    users = (place for place, frame in enumerate(frames) if "/bootstrap.py" not in frame[0])
    return traceback.format_list(frames[next(users, 0) :])


def error_payload(
    message: str, error_type: str, trace: list[str], request_id: str, *, ensure_ascii: bool = True
) -> bytes:
    """Return the JSON that AWS's runtime posts for an error; during init `request_id` is ""."""
    fields = {
        "errorMessage": message,
        "errorType": error_type,
        "requestId": request_id,
        "stackTrace": trace,
    }
    return to_utf8(to_json(fields, ensure_ascii=ensure_ascii))


def error_log_lines(
    message: str, error_type: str, trace: list[str], *, separator: str = "\n"
) -> str:
    """Return what AWS's runtime logs for an error; on standard output it separates by "\\r"."""
    title = ": ".join(filter(None, (error_type, message)))
    head = [f"[ERROR] {title}" if title else "[ERROR]", "Traceback (most recent call last):"]
    lines = [line for entry in trace for line in entry.splitlines() or [""]]
    return separator.join(head + [_with_fixed_indent(line) for line in lines])


def _with_fixed_indent(line: str) -> str:
    code = line.lstrip(" ")
    return "\u00a0" * (len(line) - len(code)) + code


def _exit_reason(error: BaseException) -> str:
    """Say how a process ends that does not catch this, in the words of lambda.md 3.5."""
    if isinstance(error, KeyboardInterrupt):
        return "Runtime exited with error: signal: interrupt"
    code = error.code if isinstance(error, SystemExit) else 1
    status = code & 0xFF if isinstance(code, int) else int(code is not None)
    if status == 0:
        return "Runtime exited without providing a reason"
    return f"Runtime exited with error: exit status {status}"


def _write_last_words(error: BaseException) -> None:
    """Write to standard error what Python writes there as it exits with this."""
    # Nothing in these words may keep the answer from its caller: they are the user's objects.
    with contextlib.suppress(Exception):
        if not isinstance(error, SystemExit):
            traceback.print_exception(type(error), error, error.__traceback__)
        elif error.code is not None and not isinstance(error.code, int):
            sys.stderr.write(f"{error.code}\n")


class Outcome(NamedTuple):
    """What one invocation came to; `function_error` is empty or `Unhandled`."""

    payload: bytes
    function_error: str = ""
    error_type: str = ""
    log: str = ""
    """What AWS's runtime writes to the function's log about an error, without its line end."""


_TOO_LARGE = Outcome(
    b'{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded '
    b'maximum allowed payload size (6291556 bytes)."}',
    "Unhandled",
    "Function.ResponseSizeTooLarge",
)


def too_large(outcome: Outcome) -> Outcome:
    """Return an error that is too large as the platform gives it to the caller."""
    return Outcome(_TOO_LARGE.payload, outcome.function_error, outcome.error_type, outcome.log)


def invoke(
    handler: Callable[[Any, Any], Any],
    payload: bytes,
    context: LambdaContext,
    settings: FunctionSettings = FunctionSettings(),  # noqa: B008 - it is immutable
) -> Outcome:
    """Call the handler and return what comes of it; never raises, even when the handler exits."""
    try:
        outcome = answer(handler, payload, context, settings)
    except BaseException as error:  # noqa: BLE001 - here AWS's process would end
        return _exited(error, context.aws_request_id)
    return outcome if len(outcome.payload) <= MAX_RESPONSE_BYTES else too_large(outcome)


def answer(
    handler: Callable[[Any, Any], Any],
    payload: bytes,
    context: LambdaContext,
    settings: FunctionSettings,
) -> Outcome:
    """Do the same, but let through what ends AWS's process, SystemExit for one."""
    try:
        reply = marshal(handler(unmarshal(payload), context), ensure_ascii=settings.ensure_ascii)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is an answer
        return failed(error, context.aws_request_id, settings)
    return _TOO_LARGE if len(reply) > MAX_RESPONSE_BYTES else Outcome(reply)


def failed(error: Exception, request_id: str, settings: FunctionSettings) -> Outcome:
    """Return the outcome of an invocation that raised, in the handler or on the way to it."""
    report = _report(error)
    payload = error_payload(*report, request_id, ensure_ascii=settings.ensure_ascii)
    log = error_log_lines(*report)
    if settings.json_log:  # what is posted, after the time and the level
        now = time.strftime(LOG_TIME, time.gmtime())
        log = f'{{"timestamp": "{now}", "level": "ERROR", {payload.decode()[1:]}'
    return Outcome(payload, "Unhandled", report[1], log)


def _exited(error: BaseException, request_id: str) -> Outcome:
    _write_last_words(error)
    message = f"RequestId: {request_id} Error: {_exit_reason(error)}"
    fields = {"errorType": "Runtime.ExitError", "errorMessage": message}
    payload = json.dumps(fields, separators=(",", ":")).encode()
    return Outcome(payload, "Unhandled", "Runtime.ExitError")

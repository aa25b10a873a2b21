"""What AWS's Python runtime does with a handler, an event and a result.

The oracle is AWS's own client, awslambdaric 4.2.2 with simplejson 4.3.0: same texts, same JSON.
This file stands alone (the standard library, orjson if it is there, nothing else of ours, Python
3.9 to 3.14) because a child process executes it by path; the in-process invoker imports it.

JSON has three speeds. An ALB event and an ALB reply go through orjson, where only white space
differs from AWS's. A result of exact builtin types goes through the standard library's C encoder,
which agrees with simplejson on those. Everything else is written by `_Writer`, value by value.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring, encode_basestring_ascii
from marshal import dumps as dump_exact_types
from types import CoroutineType, ModuleType
from typing import Any, NamedTuple

MAX_RESPONSE_BYTES = 6_291_556  # 6 MiB and 100 bytes: interop.MaxPayloadSize of AWS's emulator

# awslambdaric writes characters as they are for these runtimes and escapes them for every other.
UNESCAPED_RUNTIMES = frozenset(f"AWS_Lambda_python3.{minor}" for minor in (12, 13, 14, 15))

_LOG_TIME = "%Y-%m-%dT%H:%M:%SZ"

orjson: Any = None
if __name__ != "_gateway_bootstrap":  # bootstrap_loop.py sees to it when there is time
    with contextlib.suppress(ImportError):
        orjson = importlib.import_module("orjson")


class Fault(Exception):
    """A failure that AWS's runtime names itself, such as Runtime.MarshalError."""

    def __init__(self, error_type: str, message: str, stack_trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.stack_trace = stack_trace or []


class InitError(Fault):
    """The handler could not be loaded."""


class FunctionSettings(NamedTuple):
    """What is the same for every invocation of one function version; None is a variable not set."""

    log_group_name: str | None = None
    log_stream_name: str | None = None
    function_name: str | None = None
    memory_limit_in_mb: str | None = None
    function_version: str | None = None
    ensure_ascii: bool = True
    json_log: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> FunctionSettings:
        """Read the variables that AWS sets in an execution environment."""
        return cls(
            environ.get("AWS_LAMBDA_LOG_GROUP_NAME"),
            environ.get("AWS_LAMBDA_LOG_STREAM_NAME"),
            environ.get("AWS_LAMBDA_FUNCTION_NAME"),
            environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            environ.get("AWS_LAMBDA_FUNCTION_VERSION"),
            ensure_ascii=environ.get("AWS_EXECUTION_ENV") not in UNESCAPED_RUNTIMES,
            json_log=environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON",
        )


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


def _describe(subject: Any, names: tuple[str, ...] = ()) -> str:
    fields = [f"{name}={getattr(subject, name)}" for name in names or subject.__slots__]
    return f"{type(subject).__name__}([{','.join(fields)}])"


class Client:
    """The mobile application inside a client context."""

    __slots__ = (  # noqa: RUF023 - AWS's order, which repr() shows
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )

    def __init__(self, fields: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, fields.get(name))

    __repr__ = _describe


class ClientContext:
    """What the caller sent as client context; any other key is dropped."""

    __slots__ = ("custom", "env", "client")  # noqa: RUF023

    def __init__(self, fields: Mapping[str, Any]) -> None:
        client = fields.get("client")
        self.custom = fields.get("custom")
        self.env = fields.get("env")
        self.client = None if client is None else Client(client)

    __repr__ = _describe


class CognitoIdentity:
    """The caller's Cognito identity: always there, with None where there is none."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, fields: Mapping[str, Any] | None) -> None:
        self.cognito_identity_id = fields.get("cognitoIdentityId") if fields else None
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId") if fields else None

    __repr__ = _describe


def _w3c_fields(client_context: Any) -> dict[str, str]:
    """Return the trace context that a caller may send inside the client context."""
    sent = client_context.get("w3c") if isinstance(client_context, dict) else None
    if not isinstance(sent, dict):
        return {}
    names = ("traceparent", "tracestate", "baggage")
    return {name: sent[name] for name in names if isinstance(sent.get(name), str)}


class LambdaContext:
    """The handler's second argument."""

    def __init__(  # noqa: PLR0913, PLR0917 - the Runtime API sends these six beside the event
        self,
        settings: FunctionSettings,
        request_id: str,
        deadline_ms: int,
        invoked_function_arn: str | None = None,
        client_context: dict[str, Any] | None = None,
        identity: dict[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> None:
        self.aws_request_id = request_id
        self.log_group_name = settings.log_group_name
        self.log_stream_name = settings.log_stream_name
        self.function_name = settings.function_name
        self.memory_limit_in_mb = settings.memory_limit_in_mb
        self.function_version = settings.function_version
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self._w3c_fields = {} if client_context is None else _w3c_fields(client_context)
        self.client_context = None if client_context is None else ClientContext(client_context)
        self.identity = CognitoIdentity(identity)
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left until the deadline, never less than 0."""
        return max(0, self._epoch_deadline_time_in_ms - time.time_ns() // 1_000_000)

    def w3c(self) -> dict[str, str]:
        """Return the W3C trace context that came with the invocation."""
        return dict(self._w3c_fields)

    def log(self, msg: object) -> None:
        """Write to the function's log without adding a line end."""
        sys.stdout.write(str(msg))

    def __repr__(self) -> str:
        names = ("aws_request_id", *FunctionSettings._fields[:5], "invoked_function_arn")
        return _describe(self, (*names, "client_context", "identity", "tenant_id"))


# How an ALB event begins. It holds no numbers, and numbers are where orjson and json disagree.
_ALB_EVENT = b'{"requestContext":{"elb":'


def _refuse_constant(name: str) -> Any:
    # simplejson writes NaN and Infinity but does not read them since 3.19.
    raise ValueError(f"Expecting value, not {name}")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def unmarshal(payload: bytes) -> Any:
    """Return the event that the payload holds, or raise Fault with Runtime.UnmarshalError."""
    if orjson is not None and payload.startswith(_ALB_EVENT):
        try:
            return orjson.loads(payload)
        except ValueError:
            pass  # a lone surrogate, for one: the standard library decides
    try:
        return _decode(str(payload, "utf-8").removeprefix("\ufeff"))
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error


def marshal(result: Any, *, ensure_ascii: bool = True) -> bytes:
    """Return the JSON that AWS's runtime answers with, or raise Fault with Runtime.MarshalError.

    Raises SystemExit for a lone surrogate that is not escaped: AWS's process ends there.
    """
    if isinstance(result, bytes):
        return result
    if orjson is not None and _is_alb_reply(result):
        try:
            reply: bytes = orjson.dumps(result)
            if not ensure_ascii or reply.isascii():
                return reply
        except TypeError:
            pass  # a lone surrogate, an integer of more than 64 bits: AWS's encoder takes both
    try:
        text = _to_json(result, ensure_ascii=ensure_ascii)
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error
    return _to_utf8(text)


def _to_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        # awslambdaric encodes while it posts, outside its error handling: nobody catches this.
        raise SystemExit(f"UnicodeEncodeError: {error}") from error


_REPLY_FIELDS: dict[str, type] = {
    "statusCode": int,
    "statusDescription": str,
    "headers": dict,
    "multiValueHeaders": dict,
    "body": str,
    "isBase64Encoded": bool,
}
_NO_HEADERS: dict[str, Any] = {}


def _is_alb_reply(result: Any) -> bool:
    if type(result) is not dict:
        return False
    for name, value in result.items():
        if type(value) is not _REPLY_FIELDS.get(name):
            return False
    lists = result.get("multiValueHeaders", _NO_HEADERS).values()
    return _are_str(result.get("headers", _NO_HEADERS).values()) and all(map(_is_str_list, lists))


# A loop because `all` over a generator makes it three times as long (a reply takes 0.5 us).
def _are_str(values: Iterable[Any]) -> bool:
    for value in values:  # noqa: SIM110
        if type(value) is not str:
            return False
    return True


def _is_str_list(value: Any) -> bool:
    return type(value) is list and _are_str(value)


def _to_json(value: Any, *, ensure_ascii: bool) -> str:
    with contextlib.suppress(TypeError, ValueError, RecursionError):
        # `marshal` refuses every subclass of a builtin, such as a namedtuple, and the encoder what
        # JSON does not know: what passes both is exact. Version 2 does not track references.
        dump_exact_types(value, 2)
        return json.dumps(value, ensure_ascii=ensure_ascii)
    try:
        return _Writer(encode_basestring_ascii if ensure_ascii else encode_basestring).write(value)
    except RecursionError as error:
        text = "maximum recursion depth exceeded while encoding a JSON object"
        raise RecursionError(text) from error


_CONSTANTS = {None: "null", True: "true", False: "false"}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class _Writer:
    """Writes one value as simplejson's encoder does, subclasses and refusals included."""

    def __init__(self, quote: Callable[[str], str]) -> None:
        self._quote = quote
        self._open: set[int] = set()

    def write(self, value: Any) -> str:
        text = self._scalar(value)
        if text is None:
            if id(value) in self._open:
                raise ValueError("Circular reference detected")
            self._open.add(id(value))
            text = self._members(value)
            self._open.remove(id(value))
        return text

    # Here the type decides, not `isinstance`: simplejson's C code is not deceived by a proxy.
    def _scalar(self, value: Any) -> str | None:
        kind = type(value)
        if issubclass(kind, str):
            return self._quote(value)
        if issubclass(kind, bytes):
            return self._quote(str(value, "utf-8"))
        if value is None or kind is bool:
            return _CONSTANTS[value]
        if issubclass(kind, int):
            return str(int(value))
        if issubclass(kind, float):
            text = repr(float(value))
            return _NOT_FINITE.get(text, text)
        return None

    def _key(self, key: Any) -> str:
        text = self._scalar(key)
        if text is None:
            kind = key.__class__.__name__
            raise TypeError(f"keys must be str, int, float, bool or None, not {kind}")
        return text if text[0] == '"' else f'"{text}"'

    def _members(self, value: Any) -> str:
        fields = _maybe_fields(value)
        if fields is not None:
            return self._object(fields)
        if issubclass(type(value), (list, tuple)):
            return f"[{', '.join([self.write(item) for item in value])}]"
        return _other(value)

    def _object(self, fields: dict[Any, Any]) -> str:
        members = [f"{self._key(key)}: {self.write(item)}" for key, item in fields.items()]
        return f"{{{', '.join(members)}}}"


def _maybe_fields(value: Any) -> dict[Any, Any] | None:
    """Return what makes the value an object: `_asdict()` before the dict that it may be itself."""
    as_dict = getattr(value, "_asdict", None)
    fields = value if issubclass(type(value), dict) else None
    if callable(as_dict):
        # simplejson takes a TypeError for "this was not a namedtuple's method".
        with contextlib.suppress(TypeError):
            fields = as_dict()
    if fields is None or isinstance(fields, dict):
        return fields
    raise TypeError(f"_asdict() must return a dict, not {type(fields).__name__}")


def _other(value: Any) -> str:
    if isinstance(value, Decimal):
        return "NaN" if value.is_nan() else str(value)
    if isinstance(value, CoroutineType):
        # Otherwise Python warns, at some later moment, that it was never awaited.
        value.close()
    raise TypeError(f"Object of type {value.__class__.__name__} is not JSON serializable")


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
    return _to_utf8(_to_json(fields, ensure_ascii=ensure_ascii))


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
    b'{"errorMessage":"Response payload size exceeded maximum allowed payload size '
    b'(6291556 bytes).","errorType":"Function.ResponseSizeTooLarge"}',
    "Unhandled",
    "Function.ResponseSizeTooLarge",
)


def invoke(
    handler: Callable[[Any, Any], Any],
    payload: bytes,
    context: LambdaContext,
    settings: FunctionSettings = FunctionSettings(),  # noqa: B008 - it is immutable
) -> Outcome:
    """Call the handler and return what comes of it; never raises, even when the handler exits."""
    try:
        return answer(handler, payload, context, settings)
    except BaseException as error:  # noqa: BLE001 - here AWS's process would end
        return _exited(error, context.aws_request_id)


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
        now = time.strftime(_LOG_TIME, time.gmtime())
        log = f'{{"timestamp": "{now}", "level": "ERROR", {payload.decode()[1:]}'
    return Outcome(payload, "Unhandled", report[1], log)


def _exited(error: BaseException, request_id: str) -> Outcome:
    _write_last_words(error)
    message = f"RequestId: {request_id} Error: {_exit_reason(error)}"
    fields = {"errorType": "Runtime.ExitError", "errorMessage": message}
    payload = json.dumps(fields, separators=(",", ":")).encode()
    return Outcome(payload, "Unhandled", "Runtime.ExitError")


class _StandardOutput(logging.Handler):
    """Writes records to whatever standard output is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        # Like AWS's, it lets a record that cannot be formatted raise where it was logged.
        text = self.format(record)
        # AWS's formatter ends the line; a traceback or a user's formatter does not, and there only
        # AWS's log pipe keeps one entry from the next.
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


_TEXT_LOG = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"

# What is not an `extra` of the user. taskName, new in Python 3.12, is not in AWS's list.
_RECORD_FIELDS = {"aws_request_id", *vars(logging.makeLogRecord({}))} - {"taskName"}


class _JsonFormatter(logging.Formatter):
    """Writes records as the JSON objects that AWS's runtime writes."""

    def format(self, record: logging.LogRecord) -> str:
        as_is = isinstance(record.msg, dict) and not record.args
        kind, error, trace = record.exc_info or (None, None, None)
        fields = {
            "timestamp": self.formatTime(record, _LOG_TIME),
            "level": logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10),
            "message": record.msg if as_is else record.getMessage(),
            "logger": record.name,
            "stackTrace": traceback.format_tb(trace) if kind else None,
            "errorType": kind.__name__ if kind else None,
            "errorMessage": str(error) if kind else None,
            "requestId": getattr(record, "aws_request_id", None),
            "location": f"{record.pathname}:{record.funcName}:{record.lineno}" if kind else None,
        }
        extras = {k: v for k, v in vars(record).items() if k not in _RECORD_FIELDS}
        every = {**fields, **extras, **fields}
        present = {k: v for k, v in every.items() if v is not None}
        # What JSON cannot hold becomes its str(), so that no record is lost.
        return json.dumps(present, ensure_ascii=False, default=str) + "\n"


def configure_logging(
    request_id: Callable[[], str], environ: Mapping[str, str] = os.environ
) -> logging.Handler:
    """Give the root logger of the whole process the output that AWS gives it, and return that."""

    def stamp(record: logging.LogRecord) -> bool:
        record.aws_request_id = request_id() or ""
        return True

    json_log = FunctionSettings.from_environ(environ).json_log
    text_format = logging.Formatter(_TEXT_LOG, "%Y-%m-%dT%H:%M:%S")
    formatter = _JsonFormatter() if json_log else text_format
    # AWS sets this for every formatter of the process; in its environment TZ is UTC anyway.
    formatter.converter = time.gmtime
    output = _StandardOutput()
    output.setFormatter(formatter)
    output.addFilter(stamp)
    logging.getLogger().addHandler(output)
    name = environ.get("AWS_LAMBDA_LOG_LEVEL", "")
    level = logging.getLevelName("DEBUG" if name == "TRACE" else name.upper())
    if isinstance(level, int):
        logging.getLogger().setLevel(level)
    return output

"""JSON as AWS's Python runtime reads and writes it; the oracle is simplejson 4.3.0.

It has three speeds. An ALB event and an ALB reply go through orjson, where only white space
differs from AWS's. A result of exact builtin types goes through the standard library's C encoder,
which agrees with simplejson on those. Everything else is written by `_Writer`, value by value.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from json.encoder import encode_basestring, encode_basestring_ascii
from marshal import dumps as dump_exact_types
from types import CoroutineType
from typing import Any

orjson: Any = None
if __package__ != "awslambdaric":  # there bootstrap_loop.py sees to it when there is time
    with contextlib.suppress(ImportError):
        orjson = importlib.import_module("orjson")


class Fault(Exception):
    """A failure that AWS's runtime names itself, such as Runtime.MarshalError."""

    def __init__(self, error_type: str, message: str, stack_trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.stack_trace = stack_trace or []


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
        text = to_json(result, ensure_ascii=ensure_ascii)
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error
    return to_utf8(text)


def to_utf8(text: str) -> bytes:
    """Return what goes out; raises SystemExit for a lone surrogate: AWS's process ends there."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        # awslambdaric encodes while it posts, outside its error handling: nothing catches this.
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


def to_json(value: Any, *, ensure_ascii: bool) -> str:
    """Return the text of any value; raises TypeError, ValueError and RecursionError."""
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

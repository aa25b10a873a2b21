"""A function's reply to HTTP response: what ALB accepts, refuses, drops, replaces and in which
order.

The service is lenient about what is missing and strict about what is wrong (alb.md 2.1). Checks run
in the order of alb.md 2.2; the first broken rule is raised with the field, what it holds and the
rule, because the client only ever sees a 502 page and the operator has to find the line of code.
"""

import binascii
import re
from collections.abc import Iterable
from typing import Any

import orjson

from gateway.core.errors import BadFunctionResponse, ResponseTooLarge
from gateway.core.http import PHRASES, Headers, HttpResponse
from gateway.core.memo import Memo
from gateway.core.pages import SERVER

REPLY_LIMIT = 1024 * 1024
"""Bytes of the reply's JSON as the function sent it (alb.md 1.10, 6.3)."""

RESPONSE_HEADERS_LIMIT = 32 * 1024
"""Name, value, `: ` and CRLF of every line that the function gave (alb.md 1.10)."""

STATUS_CODES = range(200, 600)
"""1xx, 600 and above, floats and booleans are 502 until they are measured (alb.md 2.4,
6.3)."""

DEFAULT_TYPE = (b"Content-Type", b"application/octet-stream")

NOT_HONOURED = frozenset(
    {
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "trailer",
        "te",
        "proxy-connection",
    }
)
"""Framing and hop-by-hop headers are ALB's own business, whatever the function wrote (alb.md
2.3)."""

PLACED = frozenset({"content-type", "server", "content-length", "date", "set-cookie"})
"""Names that have a place of their own, or that something depends on."""

BODYLESS = frozenset({204, 205, 304})
"""Statuses that have no content (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5)."""

RESET_CONTENT = 205
"""Says so with a length of 0: alone among them it may have one (alb.md 6.3)."""

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LEADING_CODE = re.compile(r"\A[0-9]{3}( |\Z)")

ABSENT = object()

JSON_TYPES = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}

SHOWN_CHARACTERS = 60
"""Characters of a wrong value that a message shows."""

FIELD_SHOWN = 120
"""Characters of a field's name that a message shows; a header name is the function's to choose."""


Pair = tuple[str, str]
"""Header name and value: types checked, characters not yet."""


def decode_reply(
    payload: bytes, *, multi_value: bool, is_head: bool = False, faithful: bool = False
) -> HttpResponse:
    """Return the HTTP response; raises ResponseTooLarge or BadFunctionResponse (alb.md 2.2)."""
    reply = _parsed(payload)
    status = reply.get("statusCode", ABSENT)
    if type(status) is not int or status not in STATUS_CODES:
        raise _wrong_status(status)
    reason = _reason(reply, status) if "statusDescription" in reply else PHRASES.get(status, "")
    pairs = _multi_value_pairs(reply) if multi_value else _single_pairs(reply)
    body = _body(reply)
    placed = _Placed(pairs, "multiValueHeaders" if multi_value else "headers")
    if status in BODYLESS:
        body = b""
        placed.length = _content_length(body, b"") if status == RESET_CONTENT else []
    else:
        placed.types = placed.types or [DEFAULT_TYPE]
        placed.length = _content_length(body, placed.declared if is_head else b"")
    leading = placed.server + placed.types + placed.length
    rest = placed.rest[::-1] if faithful else placed.rest
    return HttpResponse(
        status,
        reason,
        leading + rest,
        b"" if is_head else body,
        len(leading),
        placed.date_index,
        hint=repeated_cookie(rest) if placed.cookies > 1 else "",
    )


def _parsed(payload: bytes) -> dict[str, Any]:
    if len(payload) > REPLY_LIMIT:
        raise ResponseTooLarge(
            "payload", f"{len(payload)} bytes of JSON", f"ALB takes up to {REPLY_LIMIT} from Lambda"
        )
    try:
        reply = orjson.loads(payload)
    except ValueError as error:
        raise BadFunctionResponse("payload", "not JSON", str(error)) from error
    if type(reply) is not dict:
        raise wrong("payload", reply, "must be an object with a statusCode")
    return reply


def _wrong_status(status: object) -> BadFunctionResponse:
    if type(status) is not int:
        return wrong("statusCode", status, "must be an integer")
    return wrong("statusCode", status, "must be between 200 and 599")


def _reason(reply: dict[str, Any], status: int) -> str:
    """Return the description without its leading code, else the standard phrase (alb.md 2.1)."""
    description = reply["statusDescription"]
    if type(description) is not str:
        raise wrong("statusDescription", description, 'must be a string such as "200 OK"')
    if not description.isprintable() and CONTROL.search(description):
        raise wrong("statusDescription", description, "must not hold control characters")
    phrase = LEADING_CODE.sub("", description, count=1)
    return phrase or PHRASES.get(status, "")


def _single_pairs(reply: dict[str, Any]) -> Iterable[Pair]:
    members = _header_map(reply, "headers")
    for value in members.values():
        if type(value) is not str:
            name = next(name for name, found in members.items() if found is value)
            raise wrong(f"headers.{name}", value, "must be a string")
    return members.items()


def _multi_value_pairs(reply: dict[str, Any]) -> Iterable[Pair]:
    pairs = []
    for name, values in _header_map(reply, "multiValueHeaders").items():
        field = f"multiValueHeaders.{name}"
        if type(values) is not list:
            raise wrong(field, values, "must be an array of strings in multi-value mode")
        for index, value in enumerate(values):
            if type(value) is not str:
                raise wrong(f"{field}[{index}]", value, "must be a string")
            pairs.append((name, value))
    return pairs


def _header_map(reply: dict[str, Any], field: str) -> dict[str, Any]:
    """Return the map that the mode uses; the other one is ignored, whatever it holds (alb.md
    2.3)."""
    members = reply.get(field, ABSENT)
    if members is ABSENT:
        return {}
    if type(members) is not dict:
        raise wrong(field, members, "must be an object, or be left out")
    return members


def _body(reply: dict[str, Any]) -> bytes:
    is_base64 = reply.get("isBase64Encoded", False)
    if type(is_base64) is not bool:
        raise wrong("isBase64Encoded", is_base64, "must be true or false")
    body = reply.get("body", "")
    if type(body) is not str:
        raise wrong("body", body, "must be a string, or be left out")
    if not is_base64:
        return body.encode()
    try:
        return binascii.a2b_base64(body.encode(), strict_mode=True)
    except ValueError as error:
        raise wrong("body", body, f"must be base64 without line breaks: {error}") from error


class _Placed:
    """The function's headers, checked and put where ALB writes them (alb.md 2.2 and 2.3).

    Server, Content-Type and Content-Length have places of their own; the rest keeps its order.
    """

    __slots__ = ("cookies", "date_index", "declared", "length", "rest", "server", "types")

    def __init__(self, pairs: Iterable[Pair], field: str) -> None:
        """Check and place; raises BadFunctionResponse. `field` names the map."""
        self.server: Headers = [(b"Server", SERVER)]
        self.types: Headers = []
        self.length: Headers = []
        self.rest: Headers = []
        self.declared = b""
        self.date_index = 1
        self.cookies = 0
        size = 0
        for name, value in pairs:
            known = KNOWN_NAMES[name]
            if known is None:
                raise wrong(f"{field}.{name}", name, "a header name must be an RFC 9110 token")
            if not value.isprintable() and CONTROL.search(value):
                where = _place(pairs, name, value, field)
                raise wrong(where, value, "a header value must not hold control characters")
            line = (known[0], value.encode())
            size += len(name) + len(line[1]) + 4
            if known[1]:
                self._put(line, known[1])
            else:
                self.rest.append(line)
        if size > RESPONSE_HEADERS_LIMIT:
            rule = f"ALB takes up to {RESPONSE_HEADERS_LIMIT} bytes of headers"
            raise BadFunctionResponse(field, f"{size} bytes", rule)

    def _put(self, line: tuple[bytes, bytes], kind: str) -> None:
        """Place a header that something depends on; what is not honoured has no place."""
        match kind:
            case "content-type":
                self.types.append(line)
            case "server":
                self.server = [line]
            case "content-length":
                self.declared = line[1]
            case "date":
                self.date_index = -1
                self.rest.append(line)
            case "set-cookie":
                self.cookies += 1
                self.rest.append(line)


def _place(pairs: Iterable[Pair], name: str, value: str, field: str) -> str:
    """Return the JSON path of a bad value; in the multi-value map with its index."""
    if field == "headers":
        return f"{field}.{name}"
    return f"{field}.{name}[{[v for n, v in pairs if n == name].index(value)}]"


def known_name(name: str) -> tuple[bytes, str] | None:
    """Return a header name as bytes and its kind, or None when it is not an RFC 9110 token."""
    if TOKEN.fullmatch(name) is None:
        return None
    lower = name.lower()
    if lower in PLACED:
        return name.encode(), lower
    return name.encode(), "dropped" if lower in NOT_HONOURED else ""


def _content_length(body: bytes, declared: bytes) -> Headers:
    """Compute the length; only a HEAD reply without a body may keep the function's (alb.md 6.3)."""
    kept = declared if declared.isdigit() and not body else str(len(body)).encode()
    return [(b"Content-Length", kept)]


def repeated_cookie(headers: Headers) -> str:
    """Return advice when one reply sets a cookie twice: the real service reverses the lines (alb.md
    2.3)."""
    names = [
        value.partition(b"=")[0].strip() for name, value in headers if name.lower() == b"set-cookie"
    ]
    if len(names) == len(set(names)):
        return ""
    repeated = next(name for name in names if names.count(name) > 1)
    return (
        f"the reply sets cookie {repeated.decode(errors='replace')!r} more than once; "
        "ALB sends such lines in reverse order, so clients keep the first: try --faithful"
    )


KNOWN_NAMES = Memo(known_name)


def wrong(field: str, value: object, rule: str) -> BadFunctionResponse:
    """Return the refusal of one field, with the type and the beginning of what it holds."""
    shown = field if field.isprintable() else ascii(field)[1:-1]
    short = shown if len(shown) <= FIELD_SHOWN else f"{shown[:FIELD_SHOWN]}..."
    return BadFunctionResponse(short, described(value), rule)


def described(value: object) -> str:
    """Return `missing`, `null` or the JSON type and a short, printable form of a value."""
    if value is ABSENT:
        return "missing"
    if value is None:
        return "null"
    try:
        shown = ascii(value)
    except RecursionError:  # orjson reads 1024 levels, which is more than Python's stack holds
        return f"{JSON_TYPES[type(value)]} nested too deeply to show"
    short = shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}..."
    return f"{JSON_TYPES[type(value)]} {short}"

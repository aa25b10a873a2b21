"""A function's reply to HTTP response: what ALB accepts, refuses, drops, replaces and in which
order.

The service is lenient about what is missing and strict about what is wrong (alb.md 2.1). Checks run
in the order of alb.md 2.2; the first broken rule is raised with the field, what it holds and the
rule, because the client only ever sees a 502 page and the operator has to find the line of code.
"""

import binascii
import re
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from gateway.core.errors import BadFunctionResponse, ResponseTooLarge
from gateway.core.http import PHRASES, Forwarding, Headers, HttpResponse
from gateway.core.pages import SERVER

REPLY_LIMIT = 1024 * 1024
"""Bytes of the reply's JSON as the function sent it (alb.md 1.10, 6.3)."""

RESPONSE_HEADERS_LIMIT = 32 * 1024
"""Name, value, `: ` and CRLF of every line that the function gave (alb.md 1.10)."""

STATUS_CODES = range(200, 600)
"""1xx, 600 and above, floats and booleans are 502 until somebody measures them (alb.md 2.4,
6.3)."""

DEFAULT_TYPE = (b"Content-Type", b"application/octet-stream")

NOT_HONOURED = frozenset(
    {
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"upgrade",
        b"trailer",
        b"te",
        b"proxy-connection",
    }
)
"""Framing and hop-by-hop headers are ALB's own business, whatever the function wrote (alb.md
2.3)."""

BODYLESS = frozenset({204, 304})

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
LEADING_CODE = re.compile(r"\A\d{3}( |\Z)")

ABSENT = object()

JSON_TYPES = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}

SHOWN = 60
"""Characters of a wrong value that a message shows."""


Line = tuple[str, str, str]
"""Field (for messages), header name, header value: types checked, characters not yet."""


class Reply(NamedTuple):
    """A reply that broke no rule, its headers still in the order given."""

    status: int
    reason: str
    headers: Headers
    body: bytes


def decode_reply(
    payload: bytes, *, multi_value: bool, is_head: bool = False, faithful: bool = False
) -> HttpResponse:
    """Return the HTTP response; raises ResponseTooLarge or BadFunctionResponse (alb.md 2.2)."""
    reply = _parsed(payload)
    status = _status_code(reply)
    reason = _reason(reply, status)
    lines = _multi_value_lines(reply) if multi_value else _single_lines(reply)
    body = _body(reply)
    headers = _headers(lines)
    if status in BODYLESS:
        body = b""
    checked = Reply(status, reason, headers, body)
    return _assembled(checked, is_head=is_head, faithful=faithful)


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


def _status_code(reply: dict[str, Any]) -> int:
    status = reply.get("statusCode", ABSENT)
    if type(status) is not int:
        raise wrong("statusCode", status, "must be an integer")
    if status not in STATUS_CODES:
        raise wrong("statusCode", status, "must be between 200 and 599")
    return status


def _reason(reply: dict[str, Any], status: int) -> str:
    """Return the description without its leading code, else the standard phrase (alb.md 2.1)."""
    description = reply.get("statusDescription", "")
    if type(description) is not str:
        raise wrong("statusDescription", description, 'must be a string such as "200 OK"')
    if not description.isprintable() and CONTROL.search(description):
        raise wrong("statusDescription", description, "must not hold control characters")
    phrase = LEADING_CODE.sub("", description, count=1)
    return phrase or PHRASES.get(status, "")


def _single_lines(reply: dict[str, Any]) -> list[Line]:
    lines = []
    for name, value in _header_map(reply, "headers").items():
        if type(value) is not str:
            raise wrong(f"headers.{name}", value, "must be a string")
        lines.append((f"headers.{name}", name, value))
    return lines


def _multi_value_lines(reply: dict[str, Any]) -> list[Line]:
    lines = []
    for name, values in _header_map(reply, "multiValueHeaders").items():
        field = f"multiValueHeaders.{name}"
        if type(values) is not list:
            raise wrong(field, values, "must be an array of strings in multi-value mode")
        for index, value in enumerate(values):
            if type(value) is not str:
                raise wrong(f"{field}[{index}]", value, "must be a string")
            lines.append((f"{field}[{index}]", name, value))
    return lines


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


def _headers(lines: list[Line]) -> Headers:
    """Return the lines as bytes; raises BadFunctionResponse on what HTTP cannot carry (alb.md 2.2
    steps 6, 7)."""
    headers = []
    size = 0
    for field, name, value in lines:
        if not is_token(name):
            raise wrong(
                f"{field.partition('.')[0]}.{name}", name, "a header name must be an RFC 9110 token"
            )
        if not value.isprintable() and CONTROL.search(value):
            raise wrong(field, value, "a header value must not hold control characters")
        encoded = value.encode()
        size += len(name) + len(encoded) + 4
        headers.append((name.encode(), encoded))
    if size > RESPONSE_HEADERS_LIMIT:
        field = lines[0][0].partition(".")[0]
        raise BadFunctionResponse(
            field, f"{size} bytes", f"ALB takes up to {RESPONSE_HEADERS_LIMIT} bytes of headers"
        )
    return headers


def _assembled(reply: Reply, *, is_head: bool, faithful: bool) -> HttpResponse:
    """Put the headers into ALB's order: Server, Date, Content-Type, Content-Length, Connection, the
    rest."""
    server: Headers = [(b"Server", SERVER)]
    types: Headers = []
    rest: Headers = []
    declared = b""
    names = set()
    for line in reply.headers:
        name = line[0].lower()
        names.add(name)
        if name == b"content-type":
            types.append(line)
        elif name == b"server":
            server = [line]
        elif name == b"content-length":
            declared = line[1]
        elif name not in NOT_HONOURED:
            rest.append(line)
    if not types and reply.status not in BODYLESS:
        types.append(DEFAULT_TYPE)
    length = _content_length(reply.status, reply.body, declared if is_head else b"")
    leading = server + types + length
    return HttpResponse(
        reply.status,
        reply.reason,
        leading + (rest[::-1] if faithful else rest),
        b"" if is_head else reply.body,
        leading=len(leading),
        date_index=-1 if b"date" in names else 1,
        forwarding=Forwarding(
            target_status=reply.status, hint=repeated_cookie(rest) if b"set-cookie" in names else ""
        ),
    )


def _content_length(status: int, body: bytes, declared: bytes) -> Headers:
    """Compute the length; only a HEAD reply without a body may keep the function's (alb.md 6.3)."""
    if status in BODYLESS:
        return []
    kept = declared if declared.isdigit() and not body else b"%d" % len(body)
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


@lru_cache(maxsize=1024)
def is_token(name: str) -> bool:
    """Say whether a header name is an RFC 9110 token."""
    return TOKEN.fullmatch(name) is not None


def wrong(field: str, value: object, rule: str) -> BadFunctionResponse:
    """Return the refusal of one field, with the type and the beginning of what it holds."""
    return BadFunctionResponse(field, described(value), rule)


def described(value: object) -> str:
    """Return `missing`, `null` or the JSON type and a short, printable form of a value."""
    if value is ABSENT:
        return "missing"
    if value is None:
        return "null"
    shown = ascii(value)
    short = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    return f"{JSON_TYPES[type(value)]} {short}"

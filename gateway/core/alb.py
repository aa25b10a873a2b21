"""HTTP to ALB event, and the codec that joins it with the reply side (alb_reply.py).

Strategy: one pass over the headers into a dict (last value wins, or all in arrival order), then the
few headers that ALB writes itself are put over it. JSON is rendered once; the constant request
context and the sorted header map go in as ready fragments. Nothing is URL-decoded and nothing is
encoded again: path and query reach the handler as they came (alb.md 1.1, 1.5).
"""

import base64
import re
from functools import lru_cache
from typing import Any

import orjson

from gateway.core.alb_reply import decode_reply
from gateway.core.attributes import Attributes
from gateway.core.errors import (
    BadRequestContent,
    MethodNotAllowed,
    RequestRefused,
    RequestTooLarge,
    TooManyForwardedAddresses,
    WebSocketNotSupported,
)
from gateway.core.http import Headers, HttpRequest, HttpResponse, has_token
from gateway.core.listener import Listener

REQUEST_BODY_LIMIT = 1024 * 1024
"""1 MB before base64; 2^20 and not 10^6 is our reading (alb.md 1.4, 6.3)."""

FORWARDED_ADDRESS_LIMIT = 30
"""More addresses than this in X-Forwarded-For are answered with 463 (alb.md 1.8)."""

TEXT_TYPES = frozenset({"application/json", "application/javascript", "application/xml"})
"""Beside `text/*`, the types whose body is not base64 (alb.md 1.4)."""

EMPTY_BODY_IS_BASE64 = False
"""The flag for an empty body without a type: captures show both, by year (alb.md 1.4, 6.3)."""

VALID_NAME = re.compile(r"[-a-z0-9]+")
"""What `drop_invalid_header_fields` leaves, in lower case (alb.md 1.6)."""

AUTHORITY_END = re.compile(rb"[/?#]")

TLS_HEADERS = ("x-amzn-tls-version", "x-amzn-tls-cipher-suite")
"""Set by the listener alone once the attribute is on; a client's copies are removed (alb.md
1.6)."""

NOT_FORWARDED = ("expect", "transfer-encoding")
"""ALB answers Expect itself; a chunked body arrives whole and nothing tells its framing (alb.md
1.6, 6.3)."""


def refusal(request: HttpRequest) -> RequestRefused | None:
    """Return why the listener answers this request itself, or None (alb.md 1.8, 1.11, 4.1)."""
    if request.method == "TRACE":
        return MethodNotAllowed("TRACE is not allowed by ALB")
    if len(request.body) > REQUEST_BODY_LIMIT:
        return RequestTooLarge(f"request body over {REQUEST_BODY_LIMIT} bytes")
    addresses = 0
    for name, value in request.headers:
        size = len(name)
        if size == 15 and name.lower() == b"x-forwarded-for":
            addresses += value.count(b",") + 1
        elif size == 7 and name.lower() == b"upgrade" and _asks_websocket(request.headers, value):
            return WebSocketNotSupported("ALB cannot upgrade to WebSocket in front of Lambda")
    if addresses > FORWARDED_ADDRESS_LIMIT:
        return TooManyForwardedAddresses(f"X-Forwarded-For holds {addresses} addresses, 30 allowed")
    return None


def _asks_websocket(headers: Headers, upgrade: bytes) -> bool:
    return b"websocket" in upgrade.lower() and has_token(headers, b"connection", b"upgrade")


class AlbCodec:
    """The bridge for one target group behind one listener."""

    def __init__(
        self,
        target_group_arn: str,
        listener: Listener,
        attributes: Attributes = Attributes(),  # noqa: B008 - frozen
        *,
        faithful: bool = False,
    ) -> None:
        self.target_group_arn = target_group_arn
        self._listener = listener
        self._attributes = attributes
        self._multi = attributes.multi_value_headers
        self._faithful = faithful
        self._not_forwarded = NOT_FORWARDED + (TLS_HEADERS if attributes.tls_headers else ())
        self._port = str(listener.port)
        self._context = orjson.Fragment(orjson.dumps({"elb": {"targetGroupArn": target_group_arn}}))

    def encode(self, request: HttpRequest, /) -> bytes:
        """Return the event as JSON; raises BadRequestContent on bytes that are not UTF-8."""
        try:
            return orjson.dumps(self._event(request))
        except UnicodeDecodeError as error:
            raise BadRequestContent(f"not UTF-8 in the request: {error}") from error

    def decode(self, payload: bytes, request: HttpRequest, /) -> HttpResponse:
        """Return the response that a reply means; raises BadFunctionResponse."""
        return decode_reply(
            payload,
            multi_value=self._multi,
            is_head=request.method == "HEAD",
            faithful=self._faithful,
        )

    def _event(self, request: HttpRequest) -> dict[str, Any]:
        headers = self._headers(request)
        encoded = is_base64(headers, is_empty=not request.body)
        body = base64.b64encode(request.body) if encoded else request.body
        query = query_pairs(request.query_string.decode())
        event: dict[str, Any] = {
            "requestContext": self._context,
            "httpMethod": request.method,
            "path": request.raw_path.decode(),
        }
        if self._multi:
            event["multiValueQueryStringParameters"] = rendered(all_values(query))
            event["multiValueHeaders"] = rendered(headers)
        else:
            event["queryStringParameters"] = rendered(dict(query))
            event["headers"] = rendered(headers)
        event["body"] = body.decode()
        event["isBase64Encoded"] = encoded
        return event

    def _headers(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the client sent under lower-case names, ALB's own headers over it."""
        pairs = [(event_name(name), value.decode()) for name, value in request.headers]
        if self._attributes.drop_invalid_headers:
            pairs = [pair for pair in pairs if VALID_NAME.fullmatch(pair[0])]
        if request.http_version == "2":
            pairs = with_joined_cookies(pairs)
        headers: dict[str, Any] = all_values(pairs) if self._multi else dict(pairs)
        for name in self._not_forwarded:
            headers.pop(name, None)
        own = self._own_headers(request, headers)
        headers.update({name: [value] for name, value in own.items()} if self._multi else own)
        return headers

    def _own_headers(self, request: HttpRequest, headers: dict[str, Any]) -> dict[str, str]:
        own = {
            "x-forwarded-port": self._port,
            "x-forwarded-proto": self._listener.scheme,
            "x-amzn-trace-id": request.trace_id,
        }
        mode = self._attributes.xff_mode
        if mode == "append":
            own["x-forwarded-for"] = forwarded_for(
                request,
                is_first="x-forwarded-for" not in headers,
                has_port=self._attributes.xff_client_port,
            )
        elif mode == "remove":
            headers.pop("x-forwarded-for", None)
        if not self._attributes.preserve_host or "host" not in headers:
            own["host"] = self._host(request, headers)
        return own

    def _host(self, request: HttpRequest, headers: dict[str, Any]) -> str:
        """Return the host asked for: an absolute target's, else Host, else our own (alb.md 1.7)."""
        if not request.target.startswith(b"/") and b"://" in request.target:
            return self._listener.host(authority(request.target).decode(), is_absolute=True)
        value = headers.get("host") or self._listener.dns_name
        return self._listener.host(value if isinstance(value, str) else value[-1])


def rendered(members: dict[str, Any]) -> orjson.Fragment:
    """Return an object with its keys in byte order, as every capture has them (alb.md 1.3)."""
    return orjson.Fragment(orjson.dumps(members, option=orjson.OPT_SORT_KEYS))


@lru_cache(maxsize=1024)
def event_name(name: bytes) -> str:
    """Return a header name as events spell it."""
    return name.decode().lower()


def all_values(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return every value under its key in arrival order."""
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return values


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Split a raw query at `&` and the first `=`; empty pairs are skipped, nothing is decoded
    (alb.md 1.5)."""
    if not query:
        return []
    pairs = []
    for pair in query.split("&"):
        if pair:
            key, _, value = pair.partition("=")
            pairs.append((key, value))
    return pairs


def is_base64(headers: dict[str, Any], *, is_empty: bool) -> bool:
    """Say whether the body goes into the event as base64 (alb.md 1.4, in the order given there)."""
    if "content-encoding" in headers:
        return True
    if "content-type" not in headers:
        return EMPTY_BODY_IS_BASE64 if is_empty else True
    value = headers["content-type"]
    return not is_text(value if isinstance(value, str) else value[-1])


def is_text(content_type: str) -> bool:
    """Say whether ALB passes this type as text; parameters and case do not matter (alb.md 1.4)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in TEXT_TYPES


def forwarded_for(request: HttpRequest, *, is_first: bool, has_port: bool) -> str:
    """Return X-Forwarded-For with the peer appended (alb.md 1.8); several lines are joined
    first."""
    host, port = request.client
    peer = host
    if has_port:
        peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if is_first:
        return peer
    lines = [value for name, value in request.headers if name.lower() == b"x-forwarded-for"]
    return ", ".join([*(line.decode() for line in lines if line), peer])


def authority(target: bytes) -> bytes:
    """Return the authority of an absolute-form target, without user information (RFC 9112
    3.2.2)."""
    return AUTHORITY_END.split(target.partition(b"://")[2], maxsplit=1)[0].rpartition(b"@")[2]


def with_joined_cookies(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join HTTP/2 cookie crumbs with `; ` (RFC 9113 section 8.2.3; alb.md 6.3)."""
    crumbs = [value for name, value in pairs if name == "cookie"]
    others = [pair for pair in pairs if pair[0] != "cookie"]
    return [*others, ("cookie", "; ".join(crumbs))] if crumbs else others

"""HTTP to ALB event, and the codec that joins it with the reply side (alb_reply.py).

Strategy: one pass over the headers into a dict (last value wins, or all in arrival order), then the
few headers that ALB writes itself are put over it. JSON is rendered once; the constant request
context and the sorted header map go in as ready fragments. Nothing is URL-decoded and nothing is
encoded again: path and query reach the handler as they came (alb.md 1.1, 1.5).
"""

import base64
import re
from collections.abc import Iterable
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
from gateway.core.http import Headers, HttpRequest, HttpResponse, Tls, has_token
from gateway.core.listener import ListenerAddress, authority
from gateway.core.memo import Memo

REQUEST_BODY_LIMIT = 1024 * 1024
"""1 MB before base64; 2^20 and not 10^6 is our reading (alb.md 1.4, 6.3)."""

FORWARDED_ADDRESS_LIMIT = 30
"""More addresses than this in X-Forwarded-For are answered with 463 (alb.md 1.8)."""

REFUSED_METHODS = frozenset({"TRACE", "CONNECT"})
"""ALB answers TRACE with 405 (alb.md 4.1); a tunnel it cannot be, so CONNECT gets the same."""

TEXT_TYPES = frozenset({"application/json", "application/javascript", "application/xml"})
"""Beside `text/*`, the types whose body is not base64 (alb.md 1.4)."""

EMPTY_BODY_IS_BASE64 = False
"""The flag for an empty body without a type: captures show both, by year (alb.md 1.4, 6.3)."""

VALID_NAME = re.compile(r"[-a-z0-9]+")
"""What `drop_invalid_header_fields` leaves, in lower case (alb.md 1.6)."""

TLS_HEADERS = ("x-amzn-tls-version", "x-amzn-tls-cipher-suite")
"""Set by the listener alone once the attribute is on; a client's copies are removed (alb.md
1.6)."""

CLIENT_CERTIFICATE = "x-amzn-mtls-clientcert"
"""Begins the names of the headers about a client certificate (alb.md 4.7)."""

SET_BY_ALB = ("x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id")

NO_MEMBERS = orjson.Fragment(b"{}")

NOT_FORWARDED = ("expect", "transfer-encoding")
"""ALB answers Expect itself; a chunked body arrives whole and nothing tells its framing (alb.md
1.6, 6.3)."""


def maybe_refusal(request: HttpRequest) -> RequestRefused | None:
    """Return why the listener answers this request itself, or None (alb.md 1.8, 1.11, 4.1)."""
    if request.method in REFUSED_METHODS:
        return MethodNotAllowed(f"{request.method} is not allowed by ALB")
    if len(request.body) > REQUEST_BODY_LIMIT:
        return RequestTooLarge(f"request body over {REQUEST_BODY_LIMIT} bytes")
    for name, value in request.headers:
        size = len(name)  # the cheapest way to pass over most headers
        refused = None
        if size == 15 and name.lower() == b"x-forwarded-for":
            refused = _too_many_addresses(request.headers)
        elif size == 7 and name.lower() == b"upgrade" and b"websocket" in value.lower():
            refused = _too_many_addresses(request.headers) or _websocket(request.headers)
        if refused:
            return refused
    return None


def _too_many_addresses(headers: Headers) -> RequestRefused | None:
    lines = [value for name, value in headers if name.lower() == b"x-forwarded-for"]
    addresses = sum(line.count(b",") + 1 for line in lines)
    if addresses <= FORWARDED_ADDRESS_LIMIT:
        return None
    return TooManyForwardedAddresses(f"X-Forwarded-For holds {addresses} addresses, 30 allowed")


def _websocket(headers: Headers) -> RequestRefused | None:
    if has_token(headers, b"upgrade", b"websocket") and has_token(
        headers, b"connection", b"upgrade"
    ):
        return WebSocketNotSupported("ALB cannot upgrade to WebSocket in front of Lambda")
    return None


class AlbCodec:
    """The bridge for one target group behind one listener."""

    def __init__(
        self,
        target_group_arn: str,
        listener: ListenerAddress,
        attributes: Attributes = Attributes(),  # noqa: B008 - frozen
        *,
        faithful: bool = False,
    ) -> None:
        self.target_group_arn = target_group_arn
        self._listener = listener
        self._host_seen = Memo(listener.host)
        self._port = str(listener.port)
        self._scheme = listener.scheme
        self._faithful = faithful
        # Read on every request, so not through `attributes`.
        self._multi = attributes.multi_value_headers
        self._drops_invalid = attributes.drop_invalid_headers
        self._preserves_host = attributes.preserve_host
        self._appends = attributes.xff_mode == "append"
        self._has_port = attributes.xff_client_port
        self._tells_tls = attributes.tls_headers
        self._removed = removed_headers(attributes)
        self._own = own_headers(attributes)
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
        body = request.body
        encoded = is_base64(headers, is_empty=not body)
        query = query_pairs(request.query_string) if request.query_string else ()
        event: dict[str, Any] = {
            "requestContext": self._context,
            "httpMethod": request.method,
            "path": request.raw_path.decode(),
        }
        if self._multi:
            event["multiValueQueryStringParameters"] = rendered(all_values(query))
            event["multiValueHeaders"] = rendered(self._multi_headers(request, headers))
        else:
            event["queryStringParameters"] = rendered(dict(query)) if query else NO_MEMBERS
            event["headers"] = rendered(headers)
        event["body"] = (base64.b64encode(body) if encoded else body).decode() if body else ""
        event["isBase64Encoded"] = encoded
        return event

    def _headers(self, request: HttpRequest) -> dict[str, str]:
        """Return the last value of each name that the client sent, ALB's own headers over them."""
        if self._drops_invalid or request.http_version == "2":
            headers = dict(self._received(request))
        else:
            headers = {EVENT_NAMES[name]: value.decode() for name, value in request.headers}
        if not self._preserves_host or "host" not in headers:
            headers["host"] = self._host(request, headers.get("host"))
        if self._appends:
            headers["x-forwarded-for"] = (
                forwarded_for(request, has_port=self._has_port)
                if self._has_port or "x-forwarded-for" in headers
                else request.client[0]
            )
        headers["x-forwarded-port"] = self._port
        headers["x-forwarded-proto"] = self._scheme
        headers["x-amzn-trace-id"] = request.trace_id
        for name in self._removed:
            headers.pop(name, None)
        if request.tls is not None:
            self._tell_tls(headers, request.tls)
        return headers

    def _tell_tls(self, headers: dict[str, str], tls: Tls) -> None:
        """Add what the listener knows of the TLS connection (alb.md 4.1, 4.7)."""
        if self._tells_tls:
            headers |= dict(zip(TLS_HEADERS, (tls.version, tls.cipher_suite), strict=True))
        if tls.client_certificate:
            for name in [name for name in headers if name.startswith(CLIENT_CERTIFICATE)]:
                del headers[name]
            headers |= dict(tls.client_certificate)

    def _multi_headers(self, request: HttpRequest, last: dict[str, str]) -> dict[str, list[str]]:
        """Return all values of each name; of ALB's own headers the one that ALB wrote."""
        values = all_values(self._received(request))
        own = self._own
        if request.tls is not None and request.tls.client_certificate:
            own = own.union(name for name, _ in request.tls.client_certificate)
        return {
            name: [value] if name in own or name not in values else values[name]
            for name, value in last.items()
        }

    def _received(self, request: HttpRequest) -> list[tuple[str, str]]:
        pairs = [(EVENT_NAMES[name], value.decode()) for name, value in request.headers]
        if self._drops_invalid:
            pairs = [pair for pair in pairs if VALID_NAME.fullmatch(pair[0])]
        return with_joined_cookies(pairs) if request.http_version == "2" else pairs

    def _host(self, request: HttpRequest, received: str | None) -> str:
        """Return the host asked for: an absolute target's, else Host, else our own (alb.md 1.7)."""
        target = request.target
        if target[:1] != b"/" and b"://" in target:
            return self._listener.host(authority(target).decode(), is_absolute=True)
        return self._host_seen[received or self._listener.dns_name]


def rendered(members: dict[str, Any]) -> orjson.Fragment:
    """Return an object with its keys in byte order, as every capture has them (alb.md 1.3)."""
    return orjson.Fragment(orjson.dumps(members, option=orjson.OPT_SORT_KEYS))


def removed_headers(attributes: Attributes) -> tuple[str, ...]:
    """Return the names that never reach the function under these attributes."""
    tls = TLS_HEADERS if attributes.tls_headers else ()
    forwarded = ("x-forwarded-for",) if attributes.xff_mode == "remove" else ()
    return NOT_FORWARDED + tls + forwarded


def own_headers(attributes: Attributes) -> frozenset[str]:
    """Return the names whose received values never count beside ALB's."""
    host = () if attributes.preserve_host else ("host",)
    forwarded = ("x-forwarded-for",) if attributes.xff_mode == "append" else ()
    tls = TLS_HEADERS if attributes.tls_headers else ()
    return frozenset({*SET_BY_ALB, *host, *forwarded, *tls})


def event_name(name: bytes) -> str:
    """Return a header name as events spell it; bytes, so that only ASCII changes its case."""
    return name.lower().decode()


EVENT_NAMES = Memo(event_name)


def all_values(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return every value under its key in arrival order."""
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    return values


def query_pairs(query_string: bytes) -> list[tuple[str, str]]:
    """Split a raw query at `&` and the first `=`; empty pairs are skipped, nothing is decoded
    (alb.md 1.5)."""
    pairs = []
    for pair in query_string.decode().split("&"):
        if pair:
            key, _, value = pair.partition("=")
            pairs.append((key, value))
    return pairs


def is_base64(headers: dict[str, str], *, is_empty: bool) -> bool:
    """Say whether the body goes into the event as base64 (alb.md 1.4, in the order given there)."""
    if "content-encoding" in headers:
        return True
    if "content-type" not in headers:
        return EMPTY_BODY_IS_BASE64 if is_empty else True
    return not is_text(headers["content-type"])


def is_text(content_type: str) -> bool:
    """Say whether ALB passes this type as text; parameters and case do not matter (alb.md 1.4)."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in TEXT_TYPES


def forwarded_for(request: HttpRequest, *, has_port: bool) -> str:
    """Return X-Forwarded-For with the peer appended (alb.md 1.8); its lines are joined first."""
    host, port = request.client
    peer = host
    if has_port:
        peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [value for name, value in request.headers if name.lower() == b"x-forwarded-for"]
    return ", ".join([*(line.decode() for line in lines if line), peer])


def with_joined_cookies(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join HTTP/2 cookie crumbs with `; ` (RFC 9113 section 8.2.3; alb.md 6.3)."""
    crumbs = [value for name, value in pairs if name == "cookie"]
    others = [pair for pair in pairs if pair[0] != "cookie"]
    return [*others, ("cookie", "; ".join(crumbs))] if crumbs else others

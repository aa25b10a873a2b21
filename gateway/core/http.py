"""HTTP requests and responses as values, undecoded until a codec must read them.

A response carries everything but what only the connection knows: `Date` (the moment of writing) and
`Connection` (what this client asked for). `wire_headers` puts those two where ALB puts them.
"""

from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from gateway.core.invocation import FunctionRef

Headers = list[tuple[bytes, bytes]]
"""Name and value in wire order, duplicates kept, name case as received."""

PHRASES: dict[int, str] = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Tls:
    """What a TLS handshake came to."""

    version: str
    """In OpenSSL's spelling: `TLSv1.3`."""
    cipher_suite: str
    """In OpenSSL's spelling: `TLS_AES_128_GCM_SHA256`."""
    server_name: str = ""
    """The name that the client asked for (SNI), empty when it asked for none or no certificate has
    it."""
    client_certificate: tuple[tuple[str, str], ...] = ()
    """The headers that tell the target about a verified client certificate (alb.md 4.7)."""


@dataclass(slots=True)
class HttpRequest:
    """One request as it came through a listener, the body complete."""

    method: str
    target: bytes
    """The request target as sent; absolute-form keeps its authority."""
    raw_path: bytes
    query_string: bytes
    headers: Headers
    body: bytes = b""
    client: tuple[str, int] = ("127.0.0.1", 0)
    server: tuple[str, int] = ("127.0.0.1", 80)
    scheme: str = "http"
    http_version: str = "1.1"
    arrived_at: float = 0.0
    """Epoch seconds."""
    received_bytes: int = 0
    """Head and body as they came, 0 where the server hides the head."""
    connection_id: str = ""
    classification: str = ""
    """The desync class and its reason, empty when compliant (alb.md 4.9)."""
    trace_id: str = ""
    """The X-Amzn-Trace-Id that the target sees."""
    tls: Tls | None = None
    """None on a connection without TLS, and where the server hides it."""


@dataclass(slots=True)
class Forwarding:
    """How the forward to a target went: what only operators may read."""

    error_reason: str = ""
    """ALB's access-log word for a failure (alb.md 4.12)."""
    detail: str = ""
    """One line for the operator: which rule was broken, by what."""
    request_id: str = ""
    target_group_arn: str = ""
    rule_priority: int = 0
    """The priority of the rule that matched, 0 for the default rule."""
    target_status: int = 0
    """The function's own status, 0 when it gave none."""
    dispatched_at: float = 0.0
    """Epoch seconds, 0.0 when the target was never called."""
    target_seconds: float = -1.0
    """How long the target took, -1.0 when it never answered."""
    log: str = ""
    """What the function printed and logged during this invocation."""
    function: FunctionRef | None = None
    executed_version: str = ""
    """Empty when no function answered."""


UNFORWARDED = Forwarding()
"""The default of a response that is not forwarded yet; never written to."""


@dataclass(slots=True)
class HttpResponse:
    """One response, complete but for `Date` and `Connection`."""

    status: int
    reason: str
    headers: Headers
    body: bytes = b""
    leading: int = 0
    """How many of the headers come before `Connection`: Server, Content-Type, Content-Length."""
    date_index: int = -1
    """Where `Date` goes; -1 when the function gave its own."""
    close: bool = False
    """The connection ends after this response whatever the client wishes."""
    hint: str = ""
    """Advice about a reply that is legal but probably not meant."""
    forwarding: Forwarding = field(default_factory=lambda: UNFORWARDED)


def header(headers: Headers, name: bytes) -> bytes | None:
    """Return the last value of a header, given in lower case, or None."""
    found = None
    for key, value in headers:
        if key.lower() == name:
            found = value
    return found


def has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    """Say whether a comma list header, in any of its lines, holds a token (RFC 9110 5.6.1)."""
    for key, value in headers:
        is_named = len(key) == len(name) and key.lower() == name
        if is_named and token in [item.strip() for item in value.lower().split(b",")]:
            return True
    return False


def wishes_close(request: HttpRequest) -> bool:
    """Say whether the client wants the connection closed after this exchange (RFC 9112 9.3)."""
    if request.http_version == "1.0":
        return not has_token(request.headers, b"connection", b"keep-alive")
    return has_token(request.headers, b"connection", b"close")


@lru_cache(maxsize=2)
def http_date(second: int) -> bytes:
    """Return the Date header's value for an epoch second (RFC 9110 section 5.6.7)."""
    return formatdate(second, usegmt=True).encode("ascii")


def wire_headers(response: HttpResponse, *, date: bytes, connection: bytes | None) -> Headers:
    """Return the headers in the order ALB writes them; HTTP/2 has no `Connection` (alb.md 2.3)."""
    headers = response.headers.copy()
    if connection is not None:
        headers.insert(response.leading, (b"Connection", connection))
    if response.date_index >= 0:
        headers.insert(response.date_index, (b"Date", date))
    return headers

"""AWS Signature Version 4: a request's headers with its signature among them.

The canonical request is built from what goes over the wire. The path is encoded once more and its
dot segments and doubled slashes are removed, as every service but S3 wants; the query is decoded,
encoded and sorted. A signing key is good for a day, a region and a service, and remembered.

IAM User Guide, "Create a signed AWS API request"; botocore's signer and AWS's published vectors
are the oracles.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from gateway.core.http import Headers

ALGORITHM = "AWS4-HMAC-SHA256"

UNRESERVED = "-_.~"
"""What stays as it is beside letters and digits (RFC 3986 section 2.3)."""

UNSIGNED = frozenset(
    b"baggage connection expect keep-alive proxy-authenticate proxy-authorization te traceparent "
    b"tracestate trailer transfer-encoding upgrade user-agent x-amzn-trace-id".split()
)
"""Headers that a proxy may change (botocore, auth.py)."""

REPLACED_HEADERS = frozenset((b"authorization", b"x-amz-date", b"x-amz-security-token"))

KEYS_LIMIT = 16
"""Signing keys remembered: one a day for each secret, region and service."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What requests are signed with; shows nothing of itself."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    """Of temporary credentials; empty without one."""


@dataclass(frozen=True, slots=True)
class CredentialScope:
    """What a signature is good for, beside a day."""

    region: str
    service: str = "lambda"


@dataclass(frozen=True, slots=True)
class RequestToSign:
    """A request before it is signed; the target is the raw path and query, the headers have the
    host."""

    method: bytes
    target: bytes
    headers: Headers
    body_digest: str
    """The SHA-256 of the body in hex digits."""


def digest(body: bytes) -> str:
    """Return the SHA-256 of a body in hex digits."""
    return hashlib.sha256(body).hexdigest()


def signed(
    request: RequestToSign, credentials: Credentials, scope: CredentialScope, *, at: float
) -> Headers:
    """Return the headers to send at these epoch seconds: the given ones, date, token, signature."""
    timestamp = amz_date(int(at))
    headers = [pair for pair in request.headers if pair[0].lower() not in REPLACED_HEADERS]
    headers.append((b"X-Amz-Date", timestamp.encode()))
    if credentials.token:
        headers.append((b"X-Amz-Security-Token", credentials.token.encode()))
    canonical, names = canonical_request(request, headers)
    day = f"{timestamp[:8]}/{scope.region}/{scope.service}/aws4_request"
    text = f"{ALGORITHM}\n{timestamp}\n{day}\n{digest(canonical)}"
    key = signing_key(credentials.secret_key, timestamp[:8], scope.region, scope.service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    value = (
        f"{ALGORITHM} Credential={credentials.access_key}/{day}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    headers.append((b"Authorization", value.encode()))
    return headers


def canonical_request(request: RequestToSign, headers: Headers) -> tuple[bytes, str]:
    """Return the canonical form of a request with these headers, and the names it signs."""
    path, _, query = request.target.partition(b"?")
    lines, names = canonical_headers(headers)
    parts = (
        request.method.decode("ascii"),
        canonical_path(path),
        canonical_query(query) if query else "",
        lines,
        names,
        request.body_digest,
    )
    return "\n".join(parts).encode("latin-1"), names


@lru_cache(maxsize=256)
def canonical_path(path: bytes) -> str:
    """Return a raw path without dot and empty segments, encoded once more (RFC 3986 5.2.4)."""
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    end = "/" if kept and path.endswith(b"/") else ""
    return "/" + quote_from_bytes(b"/".join(kept), "/" + UNRESERVED) + end


def canonical_query(query: bytes) -> str:
    """Return a raw query encoded in the one way and sorted by encoded names, then values."""
    pairs = []
    for item in query.split(b"&"):
        name, _, value = item.partition(b"=")
        pairs.append((encoded(name), encoded(value)))
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def encoded(text: bytes) -> str:
    """Return a part of a query with everything encoded that is not unreserved."""
    return quote(unquote_to_bytes(text), safe=UNRESERVED)


def canonical_headers(headers: Headers) -> tuple[str, str]:
    """Return a line for each signed name, values of one name joined, and the names."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        key = name.lower()
        if key not in UNSIGNED:
            folded = b" ".join(value.split())
            found[key] = found[key] + b"," + folded if key in found else folded
    names = sorted(found)
    lines = b"".join([b"%s:%s\n" % (name, found[name]) for name in names])
    return lines.decode("latin-1"), b";".join(names).decode("latin-1")


@lru_cache(maxsize=2)
def amz_date(second: int) -> str:
    """Return an epoch second as `20150830T123600Z`."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=KEYS_LIMIT)
def signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    """Return the key of a day such as `20150830` for a region and a service."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key

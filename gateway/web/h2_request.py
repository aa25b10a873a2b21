"""An HTTP/2 request as every other: its pseudo-headers turned, and what nghttp2 lets through
checked.

The limits of a head are those of the same request in HTTP/1.1, line by line, so that it does not
depend on the version whether a request is taken.
"""

import re

from gateway.core.desync_rules import is_host
from gateway.core.http import Headers, HttpRequest
from gateway.core.limits import Limits
from gateway.web.front import Front
from gateway.web.h1_request import path_of
from gateway.wire.h2 import Request

PATH = re.compile(rb"/[!-~\x80-\xff]*+")
REQUEST_LINE_BYTES = len(b"  HTTP/1.1\r\n")
LINE_BYTES = len(b": \r\n")
END_BYTES = len(b"\r\n")
MOST_PSEUDO = 4

Address = tuple[str, int]


def request_of(
    event: Request, front: Front, client: Address, server: Address, connection_id: str
) -> HttpRequest:
    """Return the request, its body still to come.

    Pseudo-headers come first (RFC 9113 section 8.3); nghttp2 takes no request without `:method`,
    `:scheme` and `:path`, CONNECT aside, none twice, and four at most."""
    fields = event.headers
    pseudo = dict(fields[:MOST_PSEUDO])
    method, target = pseudo[b":method"], pseudo.get(b":path", b"")
    headers: Headers = [pair for pair in fields if pair[0][:1] != b":"]
    put_host_first(headers, pseudo.get(b":authority"))
    raw_path, _, query = path_of(target).partition(b"?")
    return HttpRequest(
        method.decode("latin-1"),
        target,
        raw_path,
        query,
        headers,
        b"",
        client,
        server,
        "https",
        "2",
        front.now(),
        head_bytes(method, target, headers),
        connection_id,
    )


def put_host_first(headers: Headers, authority: bytes | None) -> None:
    """Put `:authority` first, as Host (RFC 9113 section 8.3.1), or the Host there is. One
    that names another host stays behind it, for `fault`."""
    host = next((pair for pair in headers if pair[0] == b"host"), None)
    if host is not None and (authority is None or host[1].lower() == authority.lower()):
        headers.remove(host)
    if authority is not None:
        headers.insert(0, (b"host", authority))
    elif host is not None:
        headers.insert(0, host)


def head_bytes(method: bytes, target: bytes, headers: Headers) -> int:
    """Return the size of the head as HTTP/1.1 would write it."""
    fields = sum([len(name) + len(value) for name, value in headers])
    line = len(method) + len(target) + REQUEST_LINE_BYTES
    return line + fields + LINE_BYTES * len(headers) + END_BYTES


def oversized(request: HttpRequest, limits: Limits) -> int:
    """Return the status for a head that breaks a size limit, or 0."""
    size, most = request.received_bytes, limits.line_bytes
    if len(request.headers) > limits.header_fields:
        return 400
    if size <= most and size <= limits.head_bytes:
        return 0
    if len(request.method) + len(request.target) + REQUEST_LINE_BYTES > most:
        return 414
    longest = max([len(name) + len(value) for name, value in request.headers], default=0)
    return 400 if longest + LINE_BYTES > most or size > limits.head_bytes else 0


def fault(request: HttpRequest) -> str:
    """Say what makes a request invalid that nghttp2 has let through; empty for nothing."""
    if request.method == "CONNECT":
        return "CONNECT is not served"
    target = request.target
    if not PATH.fullmatch(target) and (target != b"*" or request.method != "OPTIONS"):
        return f"an invalid path: {target[:80]!a}"
    hosts = [value for name, value in request.headers if name == b"host"]
    if len(hosts) > 1:
        return "host is not what :authority says"
    if not hosts or not is_host(hosts[0]):
        return "no valid :authority or host"
    return ""

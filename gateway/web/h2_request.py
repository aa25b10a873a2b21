"""An HTTP/2 request as every other: its pseudo-headers turned, and what zttp lets through checked.

The limits of a head are those of the same request in HTTP/1.1, line by line, so that it does not
depend on the version whether a request is taken.
"""

import re

from gateway.core.desync_head import TOKEN
from gateway.core.desync_rules import is_host
from gateway.core.http import Headers, HttpRequest
from gateway.core.limits import Limits
from gateway.web.h1_request import path_of
from gateway.web.shared import Shared
from gateway.wire.h2 import Request

PATH = re.compile(rb"/[!-~\x80-\xff]*+")
REQUEST_LINE_BYTES = len(b"  HTTP/1.1\r\n")
LINE_BYTES = len(b": \r\n")
END_BYTES = len(b"\r\n")

Address = tuple[str, int]


def request_of(
    event: Request, front: Shared, client: Address, server: Address, connection_id: str
) -> HttpRequest:
    """Return the request, its body still to come; `:authority` comes first, as Host (RFC 9113
    section 8.3.1). zttp has put it behind the other headers and compared it with any Host."""
    headers: Headers = list(event.headers)
    for index, (name, _) in enumerate(headers):
        if name == b"host":
            headers.insert(0, headers.pop(index))
            break
    target = event.target
    raw_path, _, query = path_of(target).partition(b"?")
    return HttpRequest(
        event.method.decode("latin-1"),
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
        head_bytes(event.method, target, headers),
        connection_id,
    )


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


def fault(request: HttpRequest, protocol: bytes | None) -> str:
    """Say what makes a request invalid that zttp has let through; empty for nothing."""
    method = request.method
    if method == "CONNECT" or protocol is not None:
        return "CONNECT is not served"
    if not TOKEN.fullmatch(method.encode("latin-1")):
        return f"an invalid method: {method[:80]!a}"
    target = request.target
    if not PATH.fullmatch(target) and (target != b"*" or method != "OPTIONS"):
        return f"an invalid path: {target[:80]!a}"
    names = [name for name, _ in request.headers]
    if names.count(b"content-length") > 1:
        return "more than one content-length"
    if names[:1] != [b"host"] or not is_host(request.headers[0][1]):
        return "no valid :authority or host"
    return ""

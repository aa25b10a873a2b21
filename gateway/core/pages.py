"""The responses that the load balancer makes itself, to the byte (alb.md 5.2).

ALB's pages are nginx's: the same HTML, CRLF line ends, the same padding for Chrome and old MSIE,
and the same set of statuses after which the connection closes. The reason for a page exists only in
the log.
"""

import re

from gateway.core.attributes import Attributes
from gateway.core.http import Headers, HttpRequest, HttpResponse, header

SERVER = b"awselb/2.0"

TITLES: dict[int, tuple[str, str]] = {
    301: ("Moved Permanently", "301 Moved Permanently"),
    302: ("Moved Temporarily", "302 Found"),
    400: ("Bad Request", "400 Bad Request"),
    401: ("Unauthorized", "401 Authorization Required"),
    403: ("Forbidden", "403 Forbidden"),
    404: ("Not Found", "404 Not Found"),
    405: ("Not Allowed", "405 Not Allowed"),
    408: ("Request Time-out", "408 Request Time-out"),
    413: ("Request Entity Too Large", "413 Request Entity Too Large"),
    414: ("Request-URI Too Large", "414 Request-URI Too Large"),
    500: ("Internal Server Error", "500 Internal Server Error"),
    501: ("Not Implemented", "501 Not Implemented"),
    502: ("Bad Gateway", "502 Bad Gateway"),
    503: ("Service Temporarily Unavailable", "503 Service Temporarily Unavailable"),
    504: ("Gateway Time-out", "504 Gateway Time-out"),
    505: ("HTTP Version Not Supported", "505 HTTP Version Not Supported"),
    507: ("Insufficient Storage", "507 Insufficient Storage"),
}
"""Status line reason and page title. A status that is not here (460, 463, 464, 561, 562) has no
published reason or page: a bare code and an empty body until one is captured (alb.md 6.3)."""

CLOSING = frozenset({400, 408, 413, 414, 500, 501, 505})
"""After these nginx, and so ALB, drops keep-alive (alb.md 5.2, column Connection)."""

PADDING = b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6
MSIE = re.compile(rb"MSIE .{3}", re.DOTALL)


class Pages:
    """Makes the pages of one listener, with the response headers its attributes set (alb.md
    4.5)."""

    def __init__(self, attributes: Attributes = Attributes()) -> None:  # noqa: B008 - frozen
        self._attributes = attributes
        self._is_plain = attributes.server_header and not attributes.response_headers

    def page(self, status: int, request: HttpRequest | None = None) -> HttpResponse:
        """Return the response for a status; the request tells about padding and HEAD."""
        return self.completed(page(status, request))

    def completed(self, response: HttpResponse) -> HttpResponse:
        """Return a response with what the listener's attributes set, override or remove."""
        return response if self._is_plain else with_listener_headers(response, self._attributes)


def page(status: int, request: HttpRequest | None = None) -> HttpResponse:
    """Return the load balancer's own response before listener attributes touch it."""
    if status not in TITLES:
        return _bare(status)
    reason, title = TITLES[status]
    body = _html(title)
    if status >= 400 and request is not None and is_padded(header(request.headers, b"user-agent")):
        body += PADDING
    headers: Headers = [
        (b"Server", SERVER),
        (b"Content-Type", b"text/html"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    if request is not None and request.method == "HEAD":
        body = b""
    return HttpResponse(
        status, reason, headers, body, leading=3, date_index=1, close=status in CLOSING
    )


def is_padded(user_agent: bytes | None) -> bool:
    """Say whether nginx pads error pages for this client (ngx_http_process_user_agent)."""
    if user_agent is None or b"Opera" in user_agent:
        return False
    is_chrome = b"Chrome/" in user_agent and b"Gecko/" not in user_agent
    return is_chrome or MSIE.search(user_agent) is not None


def _html(title: str) -> bytes:
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    ).encode("ascii")


def _bare(status: int) -> HttpResponse:
    headers: Headers = [(b"Server", SERVER), (b"Content-Length", b"0")]
    return HttpResponse(status, "", headers, leading=2, date_index=1)


def with_listener_headers(response: HttpResponse, attributes: Attributes) -> HttpResponse:
    """Set, override or remove what the listener's attributes say; done last, on every response
    (alb.md 2.3)."""
    if not attributes.server_header:
        _without(response, b"server")
    for name, value in attributes.response_headers:
        _without(response, name.lower())
        response.headers.append((name, value))
    return response


def _without(response: HttpResponse, name: bytes) -> None:
    """Take a header out, keeping the marks of where Date and Connection go true."""
    for index, (key, _) in reversed(list(enumerate(response.headers))):
        if key.lower() == name:
            del response.headers[index]
            response.leading -= index < response.leading
            response.date_index -= index < response.date_index

"""HTTP/1 requests from bytes and responses to bytes, framed by llhttp through httptools.

The caller cuts a connection's bytes where messages can end, so that no byte of the next request
is ever parsed with the one before: a head is fed whole, a body with a length is fed to its last
byte, and a chunked body in pieces that end wherever an empty line ends, because a chunked
message ends nowhere else.
"""

import re
from functools import lru_cache

import httptools

from gateway.core.http import Headers, HttpResponse, wire_headers
from gateway.core.limits import UNLIMITED

HEAD_END = re.compile(rb"\n\r?\n")
"""Where a head ends, found tolerantly: a bare LF may end a line (RFC 9112 section 2.2)."""

EMPTY_LINE = b"\r\n\r\n"


RELEASED = httptools.HttpRequestParser(object())
"""A parser that reports to no connection."""


class Unparsable(Exception):
    """llhttp refuses these bytes."""


class RequestParser:
    """Reads one request after the other; what was read is in its attributes."""

    __slots__ = (
        "_body",
        "_fields",
        "_most_fields",
        "_parser",
        "_tail",
        "headers",
        "is_complete",
        "is_upgrade",
        "keeps_alive",
        "target",
    )

    def __init__(self, most_fields: int = UNLIMITED) -> None:
        """Take how many fields a head may have, and how many trailers."""
        self._most_fields = most_fields
        self._parser = httptools.HttpRequestParser(self)
        self._tail = b""
        self.target = b""
        self.headers: Headers = []
        self._fields: Headers = []
        self._body: bytes | bytearray = b""
        self.is_complete = self.is_upgrade = False
        self.keeps_alive = True
        """Whether the client wants the connection kept (RFC 9112 section 9.3)."""

    def on_url(self, url: bytes) -> None:
        """Take the target; called by the parser."""
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer; called by the parser."""
        self._fields.append((name, value.rstrip()))
        if len(self._fields) > self._most_fields:
            raise Unparsable("too many fields")  # the parser stops, with an error of its own

    def on_headers_complete(self) -> None:
        """Take what came so far as the head: trailers have no place in an event (alb.md 1.4).

        Called by the parser, which after the last byte of a request forgets whether to keep alive.
        """
        self.headers, self._fields = self._fields, []
        self.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; called by the parser."""
        self._body = joined(self._body, body)

    def on_message_complete(self) -> None:
        """Note the end of the request; called by the parser."""
        self.is_complete = True

    @property
    def method(self) -> bytes:
        """Return the method of the current request."""
        return self._parser.get_method()

    @property
    def body_bytes(self) -> int:
        """Return the size of the body so far, decoded."""
        return len(self._body)

    def trailers(self) -> Headers:
        """Return the fields behind a chunked body that is complete."""
        return self._fields

    def take_body(self) -> bytes:
        """Return the body and keep nothing of it: the connection may be idle for long."""
        body, self._body = self._body, b""
        return bytes(body)

    @property
    def version(self) -> str:
        """Return the version of the current request, such as `1.1`; not cheap, so ask once."""
        return self._parser.get_http_version()

    def release(self) -> None:
        """Let go of llhttp, which holds on to this object; it reads nothing any more.

        As a cycle each connection would wait for the garbage collector, which stops all of them
        for 100 ms when there are 5,000.
        """
        self._parser = RELEASED

    def feed_head(self, head: bytes) -> None:
        """Read a complete head; raises Unparsable. The parser is then at the body, or at the end.

        llhttp takes an upgrade's body for the next protocol's bytes, so `is_upgrade` asks the
        caller to feed the head again without that header.
        """
        self._fields = []
        self._body = b""
        self.is_complete = self.is_upgrade = False
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self.is_upgrade = True
        except httptools.HttpParserError as error:
            self._parser = httptools.HttpRequestParser(self)
            raise Unparsable(str(error)) from error

    def feed_sized(self, data: bytes) -> None:
        """Read bytes of a body with a length; raises Unparsable for any behind its end."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._parser = httptools.HttpRequestParser(self)
            raise Unparsable(str(error)) from error

    def feed_chunked(self, data: bytes) -> bytes:
        """Read a chunked body and return what follows its end; raises Unparsable."""
        start = 0
        try:
            while not self.is_complete and start < len(data):
                end = self._next_cut(data, start)
                self._parser.feed_data(data[start:end])
                self._tail = (self._tail + data[start:end])[-3:]
                start = end
        except httptools.HttpParserError as error:
            self._parser = httptools.HttpRequestParser(self)
            raise Unparsable(str(error)) from error
        if self.is_complete:
            self._tail = b""
        return data[start:]

    def _next_cut(self, data: bytes, start: int) -> int:
        """Return where the next empty line ends, perhaps one that began in the piece before."""
        if self._tail:
            found = (self._tail + data[start : start + 3]).find(EMPTY_LINE)
            if found >= 0:
                return start + found + 4 - len(self._tail)
        found = data.find(EMPTY_LINE, start)
        return found + 4 if found >= 0 else len(data)


def joined(body: bytes | bytearray, piece: bytes) -> bytes | bytearray:
    """Return a body with one piece more; a list of many small pieces would take 60 times their
    size."""
    if not body:
        return piece
    if isinstance(body, bytes):
        body = bytearray(body)
    body += piece
    return body


@lru_cache(maxsize=1024)
def status_line(status: int, reason: str) -> bytes:
    """Return the status line; ALB answers HTTP/1.0 with HTTP/1.1 too (alb.md 2.3)."""
    return f"HTTP/1.1 {status} {reason}\r\n".encode()


def response_head(response: HttpResponse, *, date: bytes, connection: bytes) -> bytes:
    """Return status line and headers with the empty line that ends them."""
    headers = wire_headers(response, date=date, connection=connection)
    lines = [name + b": " + value for name, value in headers]
    return status_line(response.status, response.reason) + b"\r\n".join(lines) + b"\r\n\r\n"


def message(status: int, reason: str, headers: Headers, body: bytes) -> bytes:
    """Return a complete response with a Content-Length."""
    lines = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
    end = b"Content-Length: %d\r\n\r\n" % len(body)
    return status_line(status, reason) + lines + end + body

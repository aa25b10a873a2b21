"""Request heads for the desync tests: how each must be judged, and what other parsers make of it.

`framed_by_*` are the oracles: the body that a parser reads behind a head, asked by feeding it one.
"""

from collections.abc import Iterator
from itertools import product

import h11
import httptools

from gateway.core.desync import CHUNKED, Ruling

PROBE = 64
"""The most body bytes that are fed to a parser; none of them begins a chunk."""


class Reader:
    """What httptools reads from one head."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.is_complete = False
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_message_complete(self) -> None:
        self.is_complete = True

    def accepts(self, data: bytes) -> bool:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        return True


def framed_by_httptools(head: bytes) -> int | None:
    """Return the body length that llhttp sees (PROBE for that or more), or None for a refusal."""
    reader = Reader()
    if not reader.accepts(head) or not reader.has_head:
        return None
    for size in range(PROBE):
        if reader.is_complete:
            return size
        if not reader.accepts(b"x"):
            return CHUNKED
    return PROBE


def framed_by_h11(head: bytes) -> int | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**17)
    size = 0
    try:
        connection.receive_data(head)
        if not isinstance(connection.next_event(), h11.Request):
            return None
        connection.receive_data(b"x" * PROBE + b"\r\n")
    except h11.RemoteProtocolError:
        return None
    try:
        while isinstance(event := connection.next_event(), h11.Data):
            size += len(event.data)
    except h11.RemoteProtocolError:
        return CHUNKED
    return min(size, PROBE) if isinstance(event, h11.EndOfMessage) else PROBE


def head_of(*lines: bytes, end: bytes = b"\r\n") -> bytes:
    return end.join([*lines, b"", b""])


def get(*headers: bytes) -> bytes:
    return head_of(b"GET /a HTTP/1.1", b"Host: a", *headers)


def post(*headers: bytes) -> bytes:
    return head_of(b"POST /a HTTP/1.1", b"Host: a", *headers)


# The table of the issue: what, tier and reason, and then what becomes of it

PASSES = (Ruling.PASS, Ruling.PASS, Ruling.PASS)
TOLERATED = (Ruling.PASS, Ruling.PASS, Ruling.REFUSE)
CLOSED = (Ruling.PASS_AND_CLOSE, Ruling.PASS_AND_CLOSE, Ruling.REFUSE)
REFUSED = (Ruling.REFUSE, Ruling.REFUSE, Ruling.REFUSE)

HUGE = str(2**63).encode()

TABLE: dict[bytes, tuple[str, int, tuple[Ruling, Ruling, Ruling]]] = {
    # Compliant
    get(): ("", 0, PASSES),
    head_of(b'GET /"<>\\^`{|}[]#a#b HTTP/1.1', b"Host: a"): ("", 0, PASSES),
    head_of(b"GET /\xc3\xa4\xff HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"OPTIONS * HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"GET no/slash HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"GET ?q HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"GET  HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"GET http://u:p@b:80/x?y HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"CONNECT a:443 HTTP/1.1", b"Host: a:443"): ("", 0, PASSES),
    head_of(b"get /a HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"M-SEARCH * HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"PRI /a HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"!#$%&'*+-.^_`|~9 /a HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"GET /a?b=http://@ HTTP/1.1", b"Host: a"): ("", 0, PASSES),
    head_of(b"GET /a HTTP/1.0"): ("", 0, PASSES),
    head_of(b"GET /a HTTP/1.0", b"Host: [::1]:"): ("", 0, PASSES),
    get(b"X: \xe4\t\xff", b"Y:", b"Z:\t z \t", b"a_b.c: d"): ("", 0, PASSES),
    get(b"Upgrade: h2c", b"Connection: upgrade"): ("", 0, PASSES),
    post(b"Content-Length: 5"): ("", 0, PASSES),
    post(b"CONTENT-LENGTH:\t005 "): ("", 0, PASSES),
    post(b"Content-Length: " + str(2**63 - 1).encode()): ("", 0, PASSES),
    post(b"Transfer-Encoding: chunked"): ("", 0, PASSES),
    post(b"transfer-encoding:\tCHUNKED \t"): ("", 0, PASSES),
    post(b"Transfer-Encoding: identity"): ("", 0, PASSES),
    post(b"TransferEncoding: chunked"): ("", 0, PASSES),
    post(b"ContentLength: 5", b"X-Content-Length: 5", b"TE: chunked"): ("", 0, PASSES),
    # Acceptable
    get().replace(b"\r\n", b"\n"): ("NonCrLfLineTermination", 0, TOLERATED),
    get()[:-2] + b"\n": ("NonCrLfLineTermination", 0, TOLERATED),
    b"GET /a HTTP/1.1\nHost: a\r\n\r\n": ("NonCrLfLineTermination", 0, TOLERATED),
    head_of(b"GET /a b  c HTTP/1.1", b"Host: a"): ("SpaceInUri", 0, TOLERATED),
    head_of(b"GET /a HTTP/1.1 HTTP/1.1", b"Host: a"): ("SpaceInUri", 0, TOLERATED),
    head_of(b"GET  /a HTTP/1.1", b"Host: a"): ("NonCompliantVersion", 0, TOLERATED),
    head_of(b"GET /a  HTTP/1.1", b"Host: a"): ("NonCompliantVersion", 0, TOLERATED),
    head_of(b"GET /a HTTP/1.1 \t", b"Host: a"): ("NonCompliantVersion", 0, TOLERATED),
    head_of(b"GET /a \tHTTP/1.1", b"Host: a"): ("NonCompliantVersion", 0, TOLERATED),
    head_of(b"GET /a HTTP/1.2", b"Host: a"): ("NonCompliantVersion", 0, TOLERATED),
    head_of(b"GET /a HTTP/1.9", b"Host: a"): ("NonCompliantVersion", 0, TOLERATED),
    get(b"X: \x01"): ("NonCompliantHeader", 0, TOLERATED),
    get(b"X: \x7f"): ("NonCompliantHeader", 0, TOLERATED),
    get(b"Upgrade: \x01"): ("NonCompliantHeader", 0, TOLERATED),
    get(b"X : y"): ("NonCompliantHeader", 0, TOLERATED),
    get(b"Host : b"): ("NonCompliantHeader", 0, TOLERATED),
    get(b"\xc3\xa4: y"): ("NonCompliantHeader", 0, TOLERATED),
    get(b'"x": y'): ("NonCompliantHeader", 0, TOLERATED),
    get(b"Content-Length: 0"): ("GetHeadZeroContentLength", 0, TOLERATED),
    # Ambiguous
    b"\r\n" + get(): ("MissingUri", 0, CLOSED),
    b"\r\n\r\n\r\n" + get(): ("MissingUri", 0, CLOSED),
    b"\n" + get(): ("MissingUri", 0, CLOSED),
    b"\r\n" + get(b"X: \x01"): ("MissingUri", 0, CLOSED),
    b"\r\n" + get(b": y"): ("MissingUri", 0, CLOSED),
    get(b": y"): ("EmptyHeader", 0, CLOSED),
    get(b" \t : y"): ("EmptyHeader", 0, CLOSED),
    get(b" "): ("EmptyHeader", 0, CLOSED),
    get(b"X: y", b" z"): ("MultilineHeader", 0, CLOSED),
    get(b"X: y", b"\tz: a"): ("MultilineHeader", 0, CLOSED),
    head_of(b"GET /a HTTP/1.1", b" X: y", b"Host: a"): ("MultilineHeader", 0, CLOSED),
    get(b" Host: b"): ("MultilineHeader", 0, CLOSED),
    get(b"no colon"): ("MissingHeaderColon", 0, CLOSED),
    post(b"Content-Length: 5", b"content-length:05"): ("DuplicateContentLength", 0, CLOSED),
    post(b"Content-Length: 5", b"Transfer-Encoding: chunked"): ("BothTeClPresent", 0, CLOSED),
    post(b"Content-Length: 5", b"Transfer-Encoding: identity"): ("BothTeClPresent", 0, CLOSED),
    head_of(b"POST /a HTTP/1.0", b"Transfer_Encoding: chunked"): ("SuspiciousHeader", 0, CLOSED),
    head_of(b"POST /a \tHTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked"): (
        "UndefinedTransferEncodingSemantics",
        0,
        CLOSED,
    ),
    head_of(b"POST /a \tHTTP/1.1", b"Host: a", b"Content-Length: 5"): (
        "UndefinedContentLengthSemantics",
        0,
        CLOSED,
    ),
    get(b"Transfer-Encoding: chunked"): ("UndefinedTransferEncodingSemantics", 0, CLOSED),
    get(b"Content-Length: 5"): ("UndefinedContentLengthSemantics", 0, CLOSED),
    post(b"Content_Length: 5"): ("SuspiciousHeader", 0, CLOSED),
    post(b"Content-Length : 5"): ("SuspiciousHeader", 0, CLOSED),
    post(b" Content-Length: 5"): ("SuspiciousHeader", 0, CLOSED),
    post(b"Con\xfftent-Length: 5"): ("SuspiciousHeader", 0, CLOSED),
    post("Tran\u017ffer-Encod\u0131ng: chunked".encode()): ("SuspiciousHeader", 0, CLOSED),
    post(b"Transfer Encoding: gzip"): ("SuspiciousHeader", 0, CLOSED),
    post(b"Content-Lengt#: 5"): ("SuspiciousHeader", 0, CLOSED),
    post(b"ContentJLength: 5"): ("SuspiciousHeader", 0, CLOSED),
    post(b"Content9-Length: 5"): ("SuspiciousHeader", 0, CLOSED),
    post(b"Cont##########: 5"): ("SuspiciousHeader", 0, CLOSED),
    post(b"transferXencodin.: chunked"): ("SuspiciousHeader", 0, CLOSED),
    head_of(b"GET /a\tb\x01\x7f HTTP/1.1", b"Host: a"): ("AmbiguousUri", 0, CLOSED),
    # Severe
    get(b"X: \x00"): ("BadHeader", 400, REFUSED),
    get(b"X\x00: y"): ("BadHeader", 400, REFUSED),
    get(b"X: y\rz"): ("BadHeader", 400, REFUSED),
    get(b"X: y\r"): ("BadHeader", 400, REFUSED),
    get(b"X: y\n z"): ("BadHeader", 400, REFUSED),
    get(b"X\n: y"): ("BadHeader", 400, REFUSED),
    get() + get(): ("BadHeader", 400, REFUSED),
    head_of(b"GET /\x00 HTTP/1.1", b"Host: a"): ("BadUri", 400, REFUSED),
    head_of(b"GET /\r HTTP/1.1", b"Host: a"): ("BadUri", 400, REFUSED),
    head_of(b"G(T /a HTTP/1.1", b"Host: a"): ("BadMethod", 400, REFUSED),
    head_of(b" GET /a HTTP/1.1", b"Host: a"): ("BadMethod", 400, REFUSED),
    head_of(b"GET\t/a HTTP/1.1", b"Host: a"): ("BadMethod", 400, REFUSED),
    b"\r" + get(): ("BadMethod", 400, REFUSED),
    b"\x16\x03\x01\x02\n\n": ("BadMethod", 400, REFUSED),
    b"\r\n\r\n": ("BadMethod", 400, REFUSED),
    head_of(b"GET /a http/1.1", b"Host: a"): ("BadVersion", 400, REFUSED),
    head_of(b"GET /a HTTP/1", b"Host: a"): ("BadVersion", 400, REFUSED),
    head_of(b"GET /a HTTP/1.10", b"Host: a"): ("BadVersion", 400, REFUSED),
    head_of(b"GET /a RTSP/1.0", b"Host: a"): ("BadVersion", 400, REFUSED),
    head_of(b"GET /a b", b"Host: a"): ("BadVersion", 400, REFUSED),
    post(b"Content-Length: 5", b"Content-Length: 6"): ("MultipleContentLength", 400, REFUSED),
    post(b"Content-Length: 5", b"Content_Length: 6"): ("MultipleContentLength", 400, REFUSED),
    post(b"Content-Length: +5"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: -5"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: 5 5"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: 5,5"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: 0x5"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: 5\x0b"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: \xb2"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length:"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: " + HUGE): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: " + b"9" * 9999): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: 1", b" 0"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: 1", b"no colon", b" 0"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Length: 1", b" X: y", b" 0"): ("BadContentLength", 400, REFUSED),
    post(b"Content_Length: 1", b" 0"): ("BadContentLength", 400, REFUSED),
    post(b"Content-Lengt#: x"): ("BadContentLength", 400, REFUSED),
    post(b"ContentJLength: x"): ("BadContentLength", 400, REFUSED),
    post(b"Content9-Length: 5", b"Content-Length: 6"): ("MultipleContentLength", 400, REFUSED),
    post(b"Transfer-Encoding: xchunked"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: gzip, br"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: ,chunked"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: chunked\x0b"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: chun ked"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding:"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: chunked", b" , gzip"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer_Encoding: chunked", b" x"): ("BadTransferEncoding", 400, REFUSED),
    post(b"TransferJEncoding: x"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: x-gzip"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: X-Compress"): ("BadTransferEncoding", 400, REFUSED),
    post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked"): (
        "MultipleTransferEncodingChunked",
        400,
        REFUSED,
    ),
    post(b"Transfer-Encoding: chunked, gzip,chunked"): (
        "MultipleTransferEncodingChunked",
        400,
        REFUSED,
    ),
    # HTTP/0.9 and lines without version; no target; heads that do not end
    head_of(b"GET /a HTTP/0.9", b"Host: a"): ("NonCompliantVersion", 400, REFUSED),
    head_of(b"GET /a"): ("NonCompliantVersion", 400, REFUSED),
    head_of(b"GET /a", b"Host: a", end=b"\n"): ("NonCrLfLineTermination", 400, REFUSED),
    head_of(b"GET /a\tHTTP/1.1", b"Host: a"): ("AmbiguousUri", 400, REFUSED),
    head_of(b"GET HTTP/1.1", b"Host: a"): ("MissingUri", 400, REFUSED),
    head_of(b"GET"): ("MissingUri", 400, REFUSED),
    b"GET /a HTTP/1.1\r\nHost: a\r\n": ("MissingLastEmptyLine", 400, REFUSED),
    b"GET /a HTTP/1.1\r\nHost: a": ("PartialHeaderLine", 400, REFUSED),
    head_of(b"GET  /a"): ("BadVersion", 400, REFUSED),
    head_of(b"GET HTTP/1.1x"): ("BadVersion", 400, REFUSED),
    # A higher major version in an HTTP/1 line
    head_of(b"GET /a HTTP/2.0", b"Host: a"): ("BadVersion", 505, REFUSED),
    head_of(b"GET /a HTTP/2"): ("BadVersion", 505, REFUSED),
    head_of(b"GET /a HTTP/10.1"): ("BadVersion", 505, REFUSED),
    head_of(b"PRI * HTTP/2.0"): ("BadVersion", 505, REFUSED),
    # Transfer codings that are known
    post(b"Transfer-Encoding: gzip"): ("", 501, REFUSED),
    post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"): ("", 501, REFUSED),
    post(b"Transfer-Encoding: chunked;a=b"): ("", 501, REFUSED),
    post(b"Transfer-Encoding: identity, chunked"): ("", 501, REFUSED),
    get(b"Transfer-Encoding: deflate"): ("UndefinedTransferEncodingSemantics", 501, REFUSED),
    # Transfer-Encoding before HTTP/1.1
    **{
        head_of(b"POST /a HTTP/1.0", b"Host: a", *lines): (
            "UndefinedTransferEncodingSemantics",
            400,
            REFUSED,
        )
        for lines in (
            [b"Transfer-Encoding: chunked"],
            [b"Transfer-Encoding: Chunked", b"Connection: keep-alive"],
            [b"Transfer-Encoding: identity"],
            [b"Transfer-Encoding: gzip, chunked"],
            [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
            [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        )
    },
    # Host
    head_of(b"GET /a HTTP/1.1"): ("", 400, REFUSED),
    head_of(b"GET /a HTTP/1.3"): ("NonCompliantVersion", 400, REFUSED),
    head_of(b"GET /a HTTP/1.1", b"Host : a"): ("NonCompliantHeader", 400, REFUSED),
    head_of(b"GET /a HTTP/1.1", b"Host"): ("MissingHeaderColon", 400, REFUSED),
    get(b"Host: a"): ("", 400, REFUSED),
    get(b"hOST: b"): ("", 400, REFUSED),
    head_of(b"GET /a HTTP/1.0", b"Host: a", b"Host: a"): ("", 400, REFUSED),
    head_of(b"GET http:///a HTTP/1.1", b"Host: a"): ("", 400, REFUSED),
    head_of(b"GET http://a b/ HTTP/1.1", b"Host: a"): ("SpaceInUri", 400, REFUSED),
} | {
    head_of(b"GET /a HTTP/1.1", b"Host:" + value): ("", 400, REFUSED)
    for value in (
        b"",
        b" a b",
        b"a/b",
        b"u@a",
        b"a:b",
        b"[::1",
        b"[]",
        b"a:1:2",
        b"%4",
        b"\xc3\xa4",
    )
}


FRAMING: dict[bytes, int | None] = {
    b"Content-Length: 5": 5,
    b"content-length:5": 5,
    b"CONTENT-LENGTH: \t5 \t": 5,
    b"Content-Length: 005": 5,
    b"Content-Length: 7": 7,
    b"Content-Length: 0": 0,
    b"Content-Length: +5": None,
    b"Content-Length: -1": None,
    b"Content-Length: 5, 5": None,
    b"Content-Length: 0x5": None,
    b"Content-Length: 5 5": None,
    b"Content-Length: 5\x0c": None,
    b"Content-Length:": None,
    b"Content-Length: " + HUGE: None,
    b"Content-Length : 5": 0,
    b" Content-Length: 5": 0,
    b"Content_Length: 5": 0,
    b"Content-Lengt#: 5": 0,
    b"ContentJLength: 5": 0,
    b"Content-Length\x0b: 5": 0,
    b"\xa0Content-Length: 5": 0,
    b"Transfer-Encoding: chunked": CHUNKED,
    b"transfer-encoding:chunked": CHUNKED,
    b"TRANSFER-ENCODING: \tCHUNKED\t ": CHUNKED,
    b"Transfer-Encoding: identity": 0,
    b"Transfer-Encoding: gzip": None,
    b"Transfer-Encoding: gzip, chunked": None,
    b"Transfer-Encoding: chunked, gzip": None,
    b"Transfer-Encoding: chunked, chunked": None,
    b"Transfer-Encoding: chunked;q=1": None,
    b"Transfer-Encoding: ,chunked": None,
    b"Transfer-Encoding: xchunked": None,
    b"Transfer-Encoding: \x0bchunked": None,
    b'Transfer-Encoding: "chunked"': None,
    b"Transfer-Encoding:": None,
    b"Transfer-Encoding : chunked": 0,
    b"\tTransfer-Encoding: chunked": 0,
    b"Transfer_Encoding: chunked": 0,
    b"Transfer\x00-Encoding: chunked": None,
    b"Transfer-Encoding": None,
    b"X: y": 0,
    b": y": 0,
    b" folded": 0,
    b"no colon": 0,
    b"X: y\rTransfer-Encoding: chunked": None,
}
"""A header line, and how it frames a body; None where that is ambiguous."""

LINES = (
    (b"POST /a HTTP/1.1", b"\r\n"),
    (b"GET /a HTTP/1.1", b"\r\n"),
    (b"POST /a HTTP/1.0", b"\r\n"),
    (b"POST /a HTTP/1.1", b"\n"),
    (b"PUT /a b HTTP/1.7", b"\r\n"),
    (b"BREW a HTTP/1.0", b"\n"),
    (b"HEAD * HTTP/1.1", b"\r\n"),
)


def matrix() -> Iterator[tuple[bytes, int | None]]:
    """Yield heads with two of the lines in either order, and the framing both lines leave."""
    for number, (first, second) in enumerate(product(FRAMING, repeat=2)):
        for offset, between in ((0, []), (3, [b"Y: z"])):
            line, end = LINES[(number + offset) % len(LINES)]
            head = head_of(line, b"Host: a", first, *between, second, end=end)
            yield head, _joint(line, first, second)


def _joint(line: bytes, first: bytes, second: bytes) -> int | None:
    """Return the one framing that two lines can have together: `chunked`, else a length."""
    framings = (FRAMING[first], FRAMING[second])
    names = {first.partition(b":")[0].lower(), second.partition(b":")[0].lower()}
    if line.endswith(b"1.0") and b"transfer-encoding" in names:
        return None
    if None in framings or framings == (CHUNKED, CHUNKED):
        return None
    lengths = {
        FRAMING[line] for line in (first, second) if line.lower().startswith(b"content-length:")
    }
    if CHUNKED in framings:
        return CHUNKED
    return None if len(lengths) > 1 else sum(lengths)


MATRIX = list(matrix())

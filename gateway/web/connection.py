"""One client connection of the listener's own front.

Bytes are collected until a head is complete, the head is judged, the body is read to its end, and
only then does the Responder get the request: one at a time, answers in order, further bytes held
back. Whatever is refused is answered with the load balancer's page; then the connection half-closes
and drops what still comes for a while, so that the client sees the status and not a reset.
"""

import asyncio
import re
import socket
import struct
from typing import cast

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.desync import (
    CHUNKED,
    REFUSAL_STATUS,
    Judgement,
    Ruling,
    has_plain_fields,
    is_plain,
    judge,
    ruling,
)
from gateway.core.errors import GatewayError, IncompleteRequest, RequestTooLarge
from gateway.core.http import Headers, HttpRequest, HttpResponse, Tls, has_token, header
from gateway.core.limits import (
    CHUNKED_STEP,
    Overdue,
    Phase,
    Progress,
    is_inflated,
    overdue,
)
from gateway.web.shared import Shared
from gateway.wire.h1 import HEAD_END, RequestParser, Unparsable, response_head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TLS_HANDSHAKE = b"\x16"
SPACE = 0x20
EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
BARE_LF = re.compile(rb"(?<!\r)\n")
CLIENT_LEFT = 460
INCOMPLETE = "the client left in the middle of a request"
UNREADABLE = frozenset({"", "0.9"})
"""Versions of a request line that cannot be trusted; the access log has dashes for it."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close that drops what the kernel still holds for the client."""


class Connection(asyncio.Protocol):
    """Reads requests, asks the Responder and writes responses, within the front's limits."""

    __slots__ = (
        "_buffer",
        "_classification",
        "_closes",
        "_front",
        "_has_left",
        "_is_lost",
        "_keeps_alive",
        "_length",
        "_parser",
        "_reading_paused",
        "_request",
        "_scanned",
        "_scheme",
        "_task",
        "_tls",
        "_transport",
        "_written_waiting",
        "client",
        "connection_id",
        "progress",
        "server",
    )

    _transport: asyncio.Transport
    _request: HttpRequest
    client: tuple[str, int]
    server: tuple[str, int]

    def __init__(self, front: Shared, tls: Tls | None = None) -> None:
        self._front = front
        self._tls = tls
        self._scheme = "https" if tls else "http"
        self._parser = RequestParser(self._front.limits.header_fields)
        self._buffer: bytes | bytearray = b""
        self._scanned = 0
        self._length = CHUNKED
        self._classification = ""
        self._closes = False
        self._keeps_alive = True
        self._has_left = False
        self._is_lost = False
        self._reading_paused = False
        self._written_waiting = -1
        self._task: asyncio.Task[None] | None = None
        self.progress = Progress()
        self.connection_id = front.draw(32)

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or end at once what is too much."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self.client = address(transport.get_extra_info("peername"))
        self.server = address(transport.get_extra_info("sockname"))
        self.progress.opened_at = self.progress.active_at = self._front.monotonic()
        self._transport.set_write_buffer_limits(0)  # one unsent byte is a client that may stall
        if is_unknown(transport) or not self._front.admit(self):
            self._is_lost = True
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection, or count it until the invocation under way is over, so that who
        leaves cannot start more of them than who stays; its result is dropped."""
        self._is_lost = True
        self._parser.release()
        phase = self.progress.phase
        if phase is Phase.RUNNING:
            return
        if phase is Phase.BODY:
            response = self._front.refused(self._request, IncompleteRequest(INCOMPLETE))
            self._front.note(self._request, response, response.status, 0)
        self._front.forget(self)

    def eof_received(self) -> bool:
        """Answer what came of a client that sends no more; False closes the connection."""
        self._has_left = True
        self._end_input()
        phase = self.progress.phase
        return phase is Phase.RUNNING or phase is Phase.WRITING

    def _end_input(self) -> None:
        """Refuse what is incomplete for good, and close after the last complete request."""
        phase = self.progress.phase
        if phase is Phase.HEAD or phase is Phase.BODY:
            self._refuse_error(IncompleteRequest(INCOMPLETE))
        elif phase is Phase.IDLE:
            self._transport.close()
        elif not self._buffer:
            self._closes = True

    def pause_writing(self) -> None:
        """Note that the client takes less than is written."""
        self.progress.stalled_at = self._front.monotonic()
        self._written_waiting = self._transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Go on with the next request; only now does the client's silence, or the linger, count."""
        progress = self.progress
        progress.stalled_at = None
        progress.active_at = self._front.monotonic()
        if progress.phase is Phase.WRITING:
            self._next()
        elif progress.phase is Phase.LINGERING:
            progress.began_at = progress.active_at

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        progress = self.progress
        progress.active_at = self._front.monotonic()
        phase = progress.phase
        if phase is Phase.IDLE or phase is Phase.HEAD:
            self._collect(data)
            self._read_head()
        elif phase is Phase.BODY:
            self._read_body(data)
        elif phase is Phase.LINGERING:
            self._drop(data)
        else:
            self._hold(data)

    # Reading.

    def _collect(self, data: bytes) -> None:
        if not self._buffer:
            self._buffer = data
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer)
        self._buffer += data

    def _hold(self, data: bytes) -> None:
        """Keep what comes while a request is worked on."""
        self._collect(data)
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        """Pause reading while more is kept than the limit."""
        is_full = len(self._buffer) > self._front.limits.pipelined_bytes
        if is_full and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _drop(self, data: bytes) -> None:
        self.progress.body_bytes += len(data)
        if self.progress.body_bytes > self._front.limits.linger_bytes:
            self._transport.abort()

    def _read_head(self) -> None:
        """Start on the first complete head of the buffer, if there is one."""
        progress = self.progress
        if progress.phase is Phase.IDLE:
            progress.phase = Phase.HEAD
            progress.began_at = progress.active_at
        buffer = self._buffer
        if buffer[0] < SPACE:
            buffer = self._without_empty_lines(buffer)
            if not buffer:
                return
        found = HEAD_END.search(buffer, self._scanned)
        if found is None:
            self._wait_for_head(buffer)
            return
        end = found.end()
        head = bytes(buffer[:end])
        self._buffer = bytes(buffer[end:])
        self._scanned = 0
        status = self._front.oversized(head)
        if status:
            self._refuse(status, f"head with a line or a size over the limit: {len(head)} bytes")
        else:
            self._judge(head)

    def _without_empty_lines(self, buffer: bytes | bytearray) -> bytes | bytearray:
        """Return what stands behind empty lines, or nothing where no head has begun.

        One is kept for the judgement, a bare LF if there was one.
        """
        end = cast("re.Match[bytes]", EMPTY_LINES.match(buffer)).end()
        if buffer[end : end + 1] == TLS_HANDSHAKE:
            self._refuse(400, "a TLS handshake on a plain HTTP port: use http:// in the URL")
            return b""
        kept = b"\n" if BARE_LF.search(buffer, 0, end) else bytes(buffer[:end][:2])
        if end > len(kept):
            self._buffer = kept + bytes(buffer[end:])
            self._scanned = 0
        if not self._buffer[len(kept) :].removeprefix(b"\r"):
            self.progress.phase = Phase.IDLE
            return b""
        return self._buffer

    def _wait_for_head(self, buffer: bytes | bytearray) -> None:
        """Look whether an incomplete head can still become one that is allowed."""
        status = self._front.outgrown(buffer, self._scanned)
        self._scanned = max(0, len(buffer) - 2)
        if status:
            self._refuse(status, f"head without an end after {len(buffer)} bytes")

    def _judge(self, head: bytes) -> None:
        """Have the head framed, and refused where the desync mode says so."""
        parser = self._parser
        if is_plain(head):
            try:
                parser.feed_head(head)
            except Unparsable:
                self._begin_judged(head, judge(head))
                return
            method, version = parser.method, parser.version
            if has_plain_fields(method, version, parser.headers) and not parser.is_upgrade:
                self._closes = False
                self._classification = ""
                self._begin(head, method.decode(), parser.target, version, parser.headers)
                return
        self._begin_judged(head, judge(head))

    def _begin_judged(self, head: bytes, judgement: Judgement) -> None:
        """Go on with a head that is not plain, framed by an equivalent strict one."""
        decision = ruling(judgement, self._front.mode)
        self._front.count(judgement)
        if decision is Ruling.REFUSE:
            self._refuse(judgement.status or REFUSAL_STATUS, judgement.detail, judgement)
            return
        self._parser.release()
        self._parser = RequestParser(self._front.limits.header_fields)
        try:
            self._parser.feed_head(judgement.head)
        except Unparsable as error:  # what cannot be framed is never passed
            self._refuse(REFUSAL_STATUS, str(error), judgement)
            return
        self._closes = decision is Ruling.PASS_AND_CLOSE
        self._classification = judgement.classification
        self._begin(head, judgement.method, judgement.target, judgement.version, judgement.headers)

    def _begin(
        self, head: bytes, method: str, target: bytes, version: str, headers: Headers
    ) -> None:
        """Take a judged head as the request at hand and read its body, if it has one."""
        parser = self._parser
        raw_path, _, query = path_of(target).partition(b"?")
        request = HttpRequest(
            method,
            target,
            raw_path,
            query,
            headers,
            b"",
            self.client,
            self.server,
            self._scheme,
            version,
            self._front.now(),
            len(head),
            self.connection_id,
            self._classification,
            tls=self._tls,
        )
        self._keeps_alive = parser.keeps_alive
        if version != "1.0" and has_token(headers, b"expect", b"100-continue"):
            # At once and whatever the length, as ALB does (alb.md 1.6); some clients wait for it
            # even where there is no body. HTTP/1.0 knows no 100 (RFC 9110 section 10.1.1).
            self._transport.write(CONTINUE)
        if parser.is_complete:
            self._run(request)
        else:
            self._expect_body(request)

    def _expect_body(self, request: HttpRequest) -> None:
        """Get ready for the body, or refuse one that says that it is too large."""
        self._request = request
        headers = request.headers
        progress = self.progress
        progress.phase = Phase.BODY
        progress.began_at = progress.active_at
        progress.body_bytes = 0
        declared = header(headers, b"content-length")
        # int() takes no more than 4300 digits, and zeros may lead.
        self._length = CHUNKED if declared is None else int(declared.lstrip(b"0") or b"0")
        if self._length > REQUEST_BODY_LIMIT:
            self._refuse_error(too_large(self._length))
            return
        data, self._buffer = self._buffer, b""
        if data:
            self._read_body(bytes(data))

    def _read_body(self, data: bytes) -> None:
        """Read on in the body; what stands behind its end waits in the buffer."""
        parser = self._parser
        start = 0
        try:
            while start < len(data) and not parser.is_complete:
                start += self._feed(data, start)
        except Unparsable as error:
            if parser.body_bytes > REQUEST_BODY_LIMIT:
                self._refuse_error(too_large(parser.body_bytes))
            else:
                self._refuse(400, f"body that cannot be framed: {error}")
            return
        self._buffer = data[start:]
        if parser.is_complete:
            request = self._request
            del self._request  # or an idle connection keeps its last body
            request.body = parser.take_body()
            request.received_bytes += self.progress.body_bytes
            self._run(request)

    def _feed(self, data: bytes, start: int) -> int:
        """Give the parser the next piece of the body and return its size; raises Unparsable.

        A chunked body is looked at in steps, so that it does not matter in which pieces it comes.
        """
        parser, progress = self._parser, self.progress
        if self._length != CHUNKED:
            piece = data[start : start + self._length - progress.body_bytes]
            parser.feed_sized(piece)
            progress.body_bytes += len(piece)
            return len(piece)
        piece = data[start : start + CHUNKED_STEP - progress.body_bytes % CHUNKED_STEP]
        taken = len(piece) - len(parser.feed_chunked(piece))
        progress.body_bytes += taken
        if parser.body_bytes > REQUEST_BODY_LIMIT:
            raise Unparsable("more than is allowed")
        is_step = parser.is_complete or not progress.body_bytes % CHUNKED_STEP
        if is_step and is_inflated(progress.body_bytes, parser.body_bytes):
            raise Unparsable("chunk extensions or trailers out of all proportion")
        return taken

    # Answering.

    def _run(self, request: HttpRequest) -> None:
        self.progress.phase = Phase.RUNNING
        self._task = self._front.start(self._respond(request))
        if self._buffer:
            self._pause_if_full()

    async def _respond(self, request: HttpRequest) -> None:
        """Ask the Responder and write what it says."""
        try:
            response = await self._front.responder.respond(request)
        except asyncio.CancelledError:
            response = self._front.page(502, request, "ended before the function had answered")
            self._front.note(request, response, CLIENT_LEFT, 0)
            self._front.forget(self)
            raise
        except Exception as error:  # noqa: BLE001 - the outermost loop: a bug is a response
            self._front.failed()
            response = self._front.refused(request, GatewayError(repr(error)))
        self._task = None
        if self._is_lost:
            self._front.note(request, response, CLIENT_LEFT, 0)
            self._front.forget(self)
            return
        self._write(request, response)
        if self.progress.stalled_at is None:
            self._next()

    def _write(self, request: HttpRequest, response: HttpResponse) -> None:
        """Write the response and decide whether the connection goes on after it."""
        front = self._front
        progress = self.progress
        progress.phase = Phase.WRITING
        progress.active_at = front.monotonic()
        self._closes = (
            self._closes or response.close or not self._keeps_alive or front.is_closing(progress)
        )
        connection = b"close" if self._closes else b"keep-alive"
        head = response_head(response, date=front.date, connection=connection)
        self._transport.write(head + response.body)
        status = CLIENT_LEFT if self._has_left else response.status
        front.note(request, response, status, len(head) + len(response.body))

    def _next(self) -> None:
        """Close, or go on with what is in the buffer."""
        if self._closes:
            self._close()
            return
        progress = self.progress
        progress.phase = Phase.IDLE
        if self._buffer:
            self._read_head()
            if self._has_left:
                self._end_input()
        if self._reading_paused and progress.phase is not Phase.RUNNING:
            self._read_on()

    def _read_on(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    # Ending.

    def _refuse_error(self, error: GatewayError) -> None:
        """Answer an error of the request at hand and end the connection."""
        request = self._at_hand(None)
        self._end_with(request, self._front.refused(request, error))

    def _refuse(self, status: int, detail: str, judgement: Judgement | None = None) -> None:
        """Answer with a page of the load balancer's own and end the connection."""
        request = self._at_hand(judgement)
        self._end_with(request, self._front.page(status, request, detail))

    def _at_hand(self, judgement: Judgement | None) -> HttpRequest:
        """Return the request at hand, or what can be said of one whose head was refused."""
        if self.progress.phase is Phase.BODY:
            return self._request
        request = HttpRequest("", b"", b"", b"", [], client=self.client, server=self.server)
        request.scheme, request.tls, request.http_version = self._scheme, self._tls, ""
        request.connection_id = self.connection_id
        request.arrived_at = self._front.now()
        if judgement is not None:
            request.headers = judgement.headers
            request.classification = judgement.classification
            if judgement.version not in UNREADABLE:
                request.method, request.http_version = judgement.method, judgement.version
                request.target = judgement.target
                request.raw_path, _, request.query_string = path_of(request.target).partition(b"?")
        return request

    def _end_with(self, request: HttpRequest, response: HttpResponse) -> None:
        """Write a last response, half-close, and drop what still comes."""
        head = response_head(response, date=self._front.date, connection=b"close")
        self._transport.write(head + response.body)
        self._front.note(request, response, response.status, len(head) + len(response.body))
        self._linger()

    def _close(self) -> None:
        """End the connection after a regular response, in stages where more may come: a byte that
        comes after the close turns it into a reset (RFC 9112 section 9.6)."""
        if self._buffer or self._keeps_alive:
            self._linger()
        else:
            self._transport.close()

    def _linger(self) -> None:
        """Half-close and drop what still comes."""
        progress = self.progress
        progress.phase = Phase.LINGERING
        progress.began_at = self._front.monotonic()
        progress.body_bytes = 0
        self._buffer = b""
        self._parser.release()
        if self._has_left:
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()
        self._read_on()

    # What the front asks for.

    def check_deadlines(self, now: float) -> None:
        """Act on a broken deadline; called by the front's sweep."""
        if self._is_lost:
            return
        progress = self.progress
        if progress.stalled_at is not None:
            self._look_for_progress(now)
        match overdue(progress, self._front.limits, now):
            case Overdue.CLOSE:
                self._transport.close()
            case Overdue.ABORT if progress.stalled_at is not None:
                self._reset()
            case Overdue.ABORT:
                self._transport.abort()
            case Overdue.TIME_OUT:
                self._refuse(408, f"the client was too slow: {progress.phase.name.lower()}")

    def _look_for_progress(self, now: float) -> None:
        """A client that took something of its response since the last look is not stalled."""
        waiting = self._transport.get_write_buffer_size()
        if waiting < self._written_waiting:
            self.progress.stalled_at = now
        self._written_waiting = waiting

    def _reset(self) -> None:
        """Cut off a client that does not read: a regular close would leave the kernel trying."""
        client = self._transport.get_extra_info("socket")
        if client is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()

    def close_if_idle(self) -> None:
        """Close a connection between requests, and refuse a head that is not complete."""
        if self.progress.phase is Phase.IDLE:
            self._transport.close()
        elif self.progress.phase is Phase.HEAD:
            self._refuse(503, "the gateway stops, and the head has no end yet")

    def abort(self) -> None:
        """End the connection at once, and the wait for an invocation under way."""
        self._transport.abort()
        if self._task is not None:  # which must have begun, or it cannot clean up
            self._task.get_loop().call_soon(self._task.cancel)


def too_large(size: int) -> RequestTooLarge:
    """Return the refusal of a body of this size or more."""
    return RequestTooLarge(f"body of {size} bytes or more, {REQUEST_BODY_LIMIT} allowed")


def address(name: tuple[str, int] | str | None) -> tuple[str, int]:
    """Return host and port of a socket name; a Unix socket has none.

    An IPv4 client of a socket for both families keeps its own address, IPv6 loses its zone.
    """
    if not isinstance(name, tuple):
        return "127.0.0.1", 0
    host = name[0].partition("%")[0]
    return host.removeprefix("::ffff:") if "." in host else host, name[1]


def is_unknown(transport: asyncio.BaseTransport) -> bool:
    """Say whether a client has gone before it was accepted: the system has forgotten its address,
    and no other one may stand for it, least of all our own.

    On a Unix socket, whose name is a path, clients have no address.
    """
    is_named = bool(transport.get_extra_info("peername"))
    return not is_named and isinstance(transport.get_extra_info("sockname"), tuple)


def path_of(target: bytes) -> bytes:
    """Return path and query of a target: absolute-form loses scheme and authority, `#` ends it.

    A path in an event begins with `/` whatever was sent; `*` asks for no path (RFC 9112 section
    3.2.4).
    """
    if b"#" in target:
        target = target.partition(b"#")[0]
    if target.startswith(b"/"):
        return target
    if target == b"*":
        return b"/"
    _, is_absolute, rest = target.partition(b"://")
    if not is_absolute:
        return b"/" + target
    start = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[start:]
    return path if path.startswith(b"/") else b"/" + path

"""One client connection of the listener's own front.

Bytes are collected until a head is complete, the head is judged, the body is read to its end, and
only then the Responder gets the request: one at a time, answers in order. A refusal is the load
balancer's page, and the connection then lingers. Its phases are a table (core/http1_states.py).
"""

import asyncio
from typing import cast

from gateway.core.desync import (
    REFUSAL_STATUS,
    Judgement,
    Ruling,
    has_plain_fields,
    is_plain,
    judge,
    ruling,
)
from gateway.core.errors import GatewayError, IncompleteRequest, RequestTooLarge
from gateway.core.http import Headers, HttpRequest, HttpResponse, Tls
from gateway.core.http1_states import TRANSITIONS, Input
from gateway.core.limits import Overdue, Phase, Progress, overdue, pauses
from gateway.core.outcomes import CLIENT_LEFT
from gateway.web.client_address import address, is_unknown
from gateway.web.front import Front
from gateway.web.h1_account import Account
from gateway.web.h1_body import Body
from gateway.web.h1_head import without_empty_lines
from gateway.web.h1_request import ConnectionInfo, declared_length, expects_continue
from gateway.web.lingering import Lingering
from gateway.web.shared_room import NO_ROOM
from gateway.web.stall import Stall
from gateway.wire.h1 import HEAD_END, RequestParser, Unparsable, joined, response_head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TLS_HANDSHAKE = b"\x16"
SPACE = 0x20
INCOMPLETE = "the client left in the middle of a request"


class Http1Connection(asyncio.Protocol):
    """Reads requests, asks the Responder and writes responses, within the front's limits."""

    __slots__ = (
        "_account",
        "_body",
        "_buffer",
        "_classification",
        "_closes",
        "_front",
        "_has_left",
        "_info",
        "_is_lost",
        "_keeps_alive",
        "_parser",
        "_request",
        "_scanned",
        "_stall",
        "_task",
        "_tls",
        "_transport",
        "client",
        "progress",
    )

    _transport: asyncio.Transport
    _info: ConnectionInfo
    _stall: Stall
    _request: HttpRequest
    _body: Body
    _account: Account
    client: tuple[str, int]

    def __init__(self, front: Front, tls: Tls | None = None) -> None:
        self._front = front
        self._tls = tls
        self._parser = RequestParser(self._front.limits.header_fields)
        self._buffer: bytes | bytearray = b""
        self._scanned = 0
        self._classification = ""
        self._closes = False
        self._keeps_alive = True
        self._has_left = False
        self._is_lost = False
        self._task: asyncio.Task[None] | None = None
        self.progress = Progress()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or end at once what is too much."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of it
        self.client = address(transport.get_extra_info("peername"))
        server = address(transport.get_extra_info("sockname"))
        self._info = ConnectionInfo(self.client, server, self._tls, self._front.draw(32))
        self.progress.opened_at = self.progress.active_at = self._front.monotonic()
        self._stall = Stall(self._transport, self.progress)
        self._account = Account(
            self._front, self.client[0], self._transport, self.progress, self._evict
        )
        if is_unknown(transport) or not self._front.admit(self):
            self._is_lost = True
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection, or count it until the invocation under way is over."""
        self._is_lost = True
        self._buffer = b""
        self._account.release()
        self._parser.release()
        phase = self.progress.phase
        if phase is Phase.RUNNING:  # or a client that leaves could start more than one that stays
            return
        if phase is Phase.BODY:
            self._front.unanswered(self._request, IncompleteRequest(INCOMPLETE))
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
        self._stall.begin(self._front.monotonic())
        if self.progress.phase is Phase.WRITING:
            self._account.count_waiting(len(self._buffer))

    def resume_writing(self) -> None:
        """Go on with the next request."""
        self._stall.end(self._front.monotonic())
        if self.progress.phase is Phase.WRITING:
            self._account.close()
            self._next()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        progress = self.progress
        progress.active_at = self._front.monotonic()
        phase = progress.phase
        if phase is Phase.IDLE or phase is Phase.HEAD:
            self._buffer = joined(self._buffer, data)
            self._read_head()
        elif phase is Phase.BODY:
            self._read_body(data)
        else:
            self._buffer = joined(self._buffer, data)
            self._account.hold(len(self._buffer))

    def _move(self, item: Input) -> None:
        """Go on to the phase that the table has for this input."""
        self.progress.phase = TRANSITIONS[self.progress.phase, item]

    # Reading.

    def _read_head(self) -> None:
        """Start on the first complete head of the buffer, if there is one."""
        progress = self.progress
        if progress.phase is Phase.IDLE:
            self._move(Input.HEAD_BEGUN)
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
        if self._account.is_open:
            self._account.close()
        status = self._front.oversized(head)
        if status:
            self._refuse(status, f"head with a line or a size over the limit: {len(head)} bytes")
        else:
            self._judge(head)

    def _without_empty_lines(self, buffer: bytes | bytearray) -> bytes | bytearray:
        """Return the buffer with one empty line at most, or nothing where no head has begun."""
        kept, rest = without_empty_lines(buffer)
        if rest.startswith(TLS_HANDSHAKE):
            self._refuse(400, "a TLS handshake on a plain HTTP port: use http:// in the URL")
            return b""
        if len(kept) + len(rest) < len(buffer):
            self._buffer = kept + bytes(rest)
            self._scanned = 0
            self._account.close()
        if not rest.removeprefix(b"\r"):
            self._move(Input.LINES_EMPTY)
            return b""
        return self._buffer

    def _wait_for_head(self, buffer: bytes | bytearray) -> None:
        """Look whether an incomplete head can still become one that is allowed."""
        status = self._front.outgrown(buffer, self._scanned)
        self._scanned = max(0, len(buffer) - 2)
        if status:
            self._refuse(status, f"head without an end after {len(buffer)} bytes")
            return
        self._account.count(len(buffer))

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
        """Take a judged head as the current request and read its body, if it has one."""
        request = self._info.request(method, target, version, headers, self._front.now())
        request.received_bytes = len(head)
        request.classification = self._classification
        self._keeps_alive = self._parser.keeps_alive
        if expects_continue(version, headers):
            # At once and whatever the length, as ALB does (alb.md 1.6); some clients wait for it
            # even where there is no body.
            self._transport.write(CONTINUE)
        if self._parser.is_complete:
            self._run(request)
        else:
            self._expect_body(request)

    def _expect_body(self, request: HttpRequest) -> None:
        """Get ready for the body, or refuse one that says that it is too large."""
        self._request = request
        self._move(Input.HEAD_READ)
        try:
            self._body = Body(self._parser, declared_length(request.headers), self.progress)
        except RequestTooLarge as error:
            self._refuse_error(error)
            return
        data, self._buffer = self._buffer, b""
        if data:
            self._read_body(bytes(data))

    def _read_body(self, data: bytes) -> None:
        """Read on in the body; what follows its end waits in the buffer."""
        try:
            self._buffer = self._body.read(data)
        except RequestTooLarge as error:
            self._refuse_error(error)
            return
        except Unparsable as error:
            self._refuse(400, f"body that cannot be framed: {error}")
            return
        if not self._parser.is_complete:
            self._account.await_body(self._parser.body_bytes, self._body.most_bytes)
            return
        self._account.close()
        request = self._request
        del self._request  # or an idle connection keeps its last body
        request.body = self._parser.take_body()
        request.received_bytes += self.progress.body_bytes
        self._run(request)

    # Answering.

    def _run(self, request: HttpRequest) -> None:
        self._move(Input.REQUEST_READ)
        self._task = self._front.start(self._respond(request))
        if self._buffer:
            self._account.hold(len(self._buffer))

    async def _respond(self, request: HttpRequest) -> None:
        """Ask the Responder and write what it says."""
        try:
            response = await self._front.responder.respond(request)
        except asyncio.CancelledError:
            self._front.cancelled(request)
            self._front.forget(self)
            raise
        except Exception as error:  # noqa: BLE001 - the outermost loop: a bug is a response
            response = self._front.defect(request, error)
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
        self._move(Input.ANSWERED)
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
        self._move(Input.TAKEN)
        if self._buffer:
            self._read_head()
            if self._has_left:
                self._end_input()
        if self._account.is_paused and self.progress.phase is not Phase.RUNNING:
            self._account.read_on()

    # Ending.

    def _refuse_error(self, error: GatewayError) -> None:
        """Answer an error of the current request and end the connection."""
        request = self._current(None)
        self._end_with(request, self._front.refused(request, error))

    def _refuse(self, status: int, detail: str, judgement: Judgement | None = None) -> None:
        """Answer with a page of the load balancer's own and end the connection."""
        request = self._current(judgement)
        self._end_with(request, self._front.page(status, request, detail))

    def _current(self, judgement: Judgement | None) -> HttpRequest:
        """Return the current request, or what can be said of one whose head was refused."""
        if self.progress.phase is Phase.BODY:
            return self._request
        return self._info.unread(judgement, self._front.now())

    def _end_with(self, request: HttpRequest, response: HttpResponse) -> None:
        """Write a last response before the request was read, and linger."""
        head = response_head(response, date=self._front.date, connection=b"close")
        self._transport.write(head + response.body)
        self._front.note(request, response, response.status, len(head) + len(response.body))
        self._linger(Input.REFUSED)

    def _close(self) -> None:
        """End the connection after a regular response, in stages where more may come."""
        if self._buffer or self._keeps_alive:
            self._linger(Input.ENDED)
        else:
            self._transport.close()

    def _linger(self, item: Input) -> None:
        """Leave the connection to a protocol that drops what still comes, if it can."""
        self._move(item)
        self._buffer = b""
        self._account.release()
        self._parser.release()
        if self._has_left:
            self._transport.close()
            return
        self._is_lost = True
        lingering = Lingering(self._front, self._transport, self.client, self.progress, self._stall)
        lingering.begin(self, is_brief=item is Input.ENDED)
        self._account.read_on()

    def _evict(self) -> None:
        """End a connection because more is held for clients than there is room for."""
        self._account.close()
        if self.progress.phase in {Phase.HEAD, Phase.BODY}:
            self._refuse(503, "more requests wait for their end than there is room for")
        else:
            self._buffer = b""
            self._stall.abort()

    # What the front asks for.

    def check_deadlines(self, now: float) -> None:
        """Act on a broken deadline; called by the front's sweep."""
        if self._is_lost:
            return
        self._stall.look(now)
        if self._account.look(now, len(self._buffer)):
            self._refuse(503, NO_ROOM)
            return
        match overdue(self.progress, self._front.limits, now):
            case Overdue.CLOSE:
                self._transport.close()
            case Overdue.ABORT:
                self._stall.abort()
            case Overdue.TIME_OUT:
                self._refuse(408, f"the client was too slow: {self.progress.phase.name.lower()}")

    def close_if_idle(self) -> None:
        """Close between requests, and refuse an incomplete head or a body that pauses."""
        phase = self.progress.phase
        if phase is Phase.IDLE:
            self._transport.close()
        elif phase is Phase.HEAD:
            self._refuse(503, "the gateway stops, and the head has no end yet")
        elif pauses(self.progress, self._front.monotonic()):
            self._refuse(503, "the gateway stops, and the body pauses")

    def abort(self) -> None:
        """End the connection at once, and the wait for an invocation under way."""
        self._transport.abort()
        if self._task is not None:  # which must have begun, or it cannot clean up
            self._task.get_loop().call_soon(self._task.cancel)

"""One HTTP/2 connection of the listener's own front.

Every stream is a request of its own: its body is read to the end, then the Responder gets it, and
many run at once. A response goes to the parser only as far as the client's windows allow, and only
while the transport takes it, so that nothing piles up unseen. Whoever makes work without getting
further is told to be calm and loses the connection. Whoever has had its share is told GOAWAY with
the last stream that is answered, if possible while none is open: many clients (h2, and so httpx)
give up open streams when they read it, though RFC 9113 section 6.8 says they need not.
"""

import asyncio
from enum import IntEnum
from typing import cast

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.errors import GatewayError, IncompleteRequest
from gateway.core.floods import (
    CALM_SECONDS,
    CONCURRENT_STREAMS,
    GOAWAY_SECONDS,
    HEADERS,
    REQUESTS,
    REQUESTS_AT_MOST,
    RESETS,
    Floods,
    Held,
)
from gateway.core.http import HttpResponse, Tls
from gateway.core.limits import UPLOAD_BYTES, UPLOAD_SECONDS, Overdue, Phase, Progress, overdue
from gateway.web.client_address import address
from gateway.web.connection import CLIENT_LEFT, INCOMPLETE
from gateway.web.h1_body import too_large
from gateway.web.h2_request import fault, oversized, request_of
from gateway.web.h2_stream import Step, Stream
from gateway.web.h2_writer import Writer, cut_off
from gateway.web.shared import Shared
from gateway.wire.h2 import (
    ENHANCE_YOUR_CALM,
    INTERNAL_ERROR,
    NO_ERROR,
    REFUSED_STREAM,
    Broken,
    Data,
    EndOfMessage,
    Event,
    Frames,
    GoAway,
    Request,
    RstStream,
    Session,
    Settings,
    Unsendable,
    WindowUpdate,
)

GOAWAY_STATUS = 0
"""In the access log: the connection was closed by GOAWAY (alb.md 4.12)."""


class Stage(IntEnum):
    """How far a connection is from its end."""

    OPEN = 0
    DUE = 1
    """GOAWAY comes as soon as no stream is open, or after a while."""
    LEAVING = 2
    """The last stream is named; what still comes is refused."""
    CLOSING = 3


class Http2Connection(asyncio.Protocol):
    """Reads requests, asks the Responder and writes responses, within the front's limits."""

    __slots__ = (
        "_cut_at",
        "_floods",
        "_frames",
        "_front",
        "_has_overflowed",
        "_head_began_at",
        "_held",
        "_is_flush_due",
        "_is_lost",
        "_last_stream",
        "_orphans",
        "_requests",
        "_session",
        "_stage",
        "_stage_at",
        "_streams",
        "_tasks",
        "_tls",
        "_transport",
        "_writer",
        "client",
        "connection_id",
        "progress",
        "server",
    )

    _transport: asyncio.Transport
    _writer: Writer
    _floods: Floods
    client: tuple[str, int]
    server: tuple[str, int]

    def __init__(self, front: Shared, held: Held, tls: Tls | None = None) -> None:
        self._front = front
        self._held = held
        self._tls = tls
        self._session = Session()
        self._frames = Frames()
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stage = Stage.OPEN
        self._last_stream = self._requests = 0
        self._orphans = 0  # invocations that run on though their streams were reset
        self._stage_at = 0.0
        self._cut_at: float | None = None
        self._head_began_at: float | None = None
        self._has_overflowed = self._is_flush_due = self._is_lost = False
        self._writer = Writer(self._session, held)
        self.progress = Progress()
        self.connection_id = front.draw(32)

    @property
    def _is_closing(self) -> bool:
        return self._stage is Stage.CLOSING

    @property
    def held_bytes(self) -> int:
        """Return the bytes held of bodies that are not complete or not taken."""
        return self._writer.held_bytes

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or end at once what is too much."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self.client = address(transport.get_extra_info("peername"))
        self.server = address(transport.get_extra_info("sockname"))
        now = self.progress.opened_at = self.progress.active_at = self._front.monotonic()
        self._floods = Floods(now)
        self._writer.begin(self._transport)
        self._held.holders.add(self)
        if self._front.admit(self):
            self._transport.write(self._session.preface())
        else:
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection, or count it until the invocations under way are over."""
        self._is_lost = True
        for stream in list(self._streams.values()):
            self._abandon(stream)
        self._held.holders.discard(self)
        self._maybe_forget()

    def pause_writing(self) -> None:
        """Note that the client takes less than is written, and read nothing meanwhile: every frame
        may ask for an answer."""
        self._writer.pause(self._front.monotonic())

    def resume_writing(self) -> None:
        """Go on writing, and reading."""
        self.progress.active_at = self._front.monotonic()
        self._writer.resume()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        if self._is_closing:
            return
        now = self._front.monotonic()
        frames = self._frames.scan(data)
        if self._floods.is_idle_flood(frames, now):
            self._calm()
            return
        if not self._frames.is_in_head:
            self._head_began_at = None
        elif self._head_began_at is None or HEADERS in [kind for kind, _, _ in frames]:
            self._head_began_at = now
        try:
            for event in self._session.receive(data):
                self._handle(event, now)
                if self._is_closing:
                    return
        except Broken:
            self._close(cut_after=CALM_SECONDS)
            return
        self._flush()

    # Reading.

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Request):
            self._begin(event, now)
        elif isinstance(event, Data):
            self._add(event, now)
        elif isinstance(event, EndOfMessage):
            self._end(event.stream_id)
        elif isinstance(event, RstStream):
            self._drop(event.stream_id, now)
        elif isinstance(event, WindowUpdate | Settings):
            self._writer.is_due = True
        elif isinstance(event, GoAway):
            self._leave(now)
            self._stage_at = now - GOAWAY_SECONDS  # nothing is on its way

    def _begin(self, event: Request, now: float) -> None:
        """Take a request's head, unless the connection has had its share."""
        if self._stage is Stage.LEAVING:
            # On its way when GOAWAY was sent: no fault of the client, so no reset that counts.
            self._session.reset(event.stream_id, REFUSED_STREAM)
            return
        if len(self._streams) + self._orphans >= CONCURRENT_STREAMS:
            self._reset(event.stream_id, REFUSED_STREAM, now)
            return
        self._last_stream = event.stream_id
        self._requests += 1
        self.progress.active_at = now
        self.progress.phase = Phase.RUNNING
        request = request_of(event, self._front, self.client, self.server, self.connection_id)
        request.tls = self._tls
        stream = Stream(event.stream_id, request, has_ended=event.end_stream)
        self._streams[event.stream_id] = stream
        self._judge(stream, event.protocol, now)
        self._limit_requests(now)

    def _limit_requests(self, now: float) -> None:
        """End a connection before the parser does, for which streams count that were no requests
        too: those that were refused, or reset for a malformed head."""
        used = self._requests + self._floods.resets
        if used >= REQUESTS_AT_MOST:
            self._leave(now)
        elif used >= REQUESTS:
            self._expire(now)

    def _judge(self, stream: Stream, protocol: bytes | None, now: float) -> None:
        """Refuse a request for its head, run it, or wait for its body."""
        request = stream.request
        status = oversized(request, self._front.limits)
        if status:
            detail = f"head with a line or a size over the limit: {request.received_bytes} bytes"
            self._answer_early(stream, self._front.page(status, request, detail), now)
        elif detail := fault(request, protocol):
            self._answer_early(stream, self._front.page(400, request, detail), now)
        elif stream.has_ended:
            self._run(stream)
        elif (length := stream.declared()) > REQUEST_BODY_LIMIT:
            self._answer_early(stream, self._front.refused(request, too_large(length)), now)
        else:
            stream.expect_body(now)

    def _add(self, event: Data, now: float) -> None:
        """Take a piece of a body; of a stream that was answered it is dropped."""
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        size = len(event.data)
        if stream.step is not Step.BODY:
            stream.dropped += size
            if stream.dropped > UPLOAD_BYTES:
                self._cut_upload(stream, now)
        elif not self._writer.hold(size):
            self._overflow(stream, now)
        elif not stream.add(event.data, now):
            response = self._front.refused(stream.request, too_large(len(stream.body)))
            self._answer_early(stream, response, now)
        self.progress.active_at = now

    def _end(self, stream_id: int) -> None:
        """Run a request that is complete; its trailers have no place in an event (alb.md 1.4)."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.step is Step.BODY:
            self._writer.release(stream)
            stream.end_body()
            self._run(stream)
        else:
            stream.has_ended = True
            self._maybe_finish(stream)

    def _drop(self, stream_id: int, now: float) -> None:
        """Let go of a stream that the client has reset, or zttp for what the client sent."""
        self._count_reset(now)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._abandon(stream)

    def _abandon(self, stream: Stream) -> None:
        """Note a request that gets no answer; one that runs is noted when it is over."""
        del self._streams[stream.stream_id]
        self._writer.forget(stream)
        front, step = self._front, stream.step
        stream.step = Step.OVER
        if step is Step.RUNNING:
            self._orphans += 1
        elif step is Step.BODY:
            response = front.refused(stream.request, IncompleteRequest(INCOMPLETE))
            front.note(stream.request, response, self._left(response.status), 0)
        elif step is Step.WRITING:
            front.note(stream.request, stream.response, self._left(CLIENT_LEFT), stream.sent_bytes)

    def _left(self, status: int) -> int:
        """Return the status to note of a stream without an answer, or without all of it."""
        return GOAWAY_STATUS if self._is_closing else status

    # Answering.

    def _run(self, stream: Stream) -> None:
        self._tasks.add(self._front.start(self._respond(stream)))

    async def _respond(self, stream: Stream) -> None:
        """Ask the Responder and write what it says."""
        front, request = self._front, stream.request
        try:
            response = await front.responder.respond(request)
        except asyncio.CancelledError:
            response = front.page(502, request, "ended before the function had answered")
            if stream.step is not Step.OVER:
                self._abandon(stream)
            self._end_task(stream)
            front.note(request, response, CLIENT_LEFT, 0)
            raise
        except Exception as error:  # noqa: BLE001 - the outermost loop: a bug is a response
            front.failed()
            response = front.refused(request, GatewayError(repr(error)))
        self._end_task(stream)
        if stream.step is Step.OVER:
            front.note(request, response, self._left(CLIENT_LEFT), 0)
            return
        self._write(stream, response, front.monotonic())
        if not self._is_flush_due:  # one write for all that is answered in this turn
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _end_task(self, stream: Stream) -> None:
        """Count out an invocation."""
        self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if stream.step is Step.OVER:
            self._orphans -= 1
        self._maybe_forget()

    def _answer_early(self, stream: Stream, response: HttpResponse, now: float) -> None:
        """Answer a request that is not complete; what still comes of it is dropped."""
        self._writer.release(stream)
        self._write(stream, response, now)

    def _write(self, stream: Stream, response: HttpResponse, now: float) -> None:
        """Send the head, and the body as far as it may go now."""
        progress = self.progress
        headers = stream.answer(response, self._front.date)
        progress.active_at = stream.moved_at = now
        try:
            self._session.send_head(
                stream.stream_id, response.status, headers, is_last=not response.body
            )
        except Unsendable:
            self._front.failed()
            self._reset(stream.stream_id, INTERNAL_ERROR, now)
            if stream.stream_id in self._streams:
                self._abandon(stream)
            return
        if self._front.is_closing(progress):
            self._expire(now)
        if not response.body:
            self._complete(stream)
        elif self._writer.hold(len(response.body)):
            self._writer.add(stream)
        else:
            self._overflow(stream, now)

    def _complete(self, stream: Stream) -> None:
        """Note a response that is written."""
        self._front.note(stream.request, stream.response, stream.response.status, stream.sent_bytes)
        stream.step = Step.ANSWERED
        stream.unsent = b""
        self._maybe_finish(stream)

    def _maybe_finish(self, stream: Stream) -> None:
        """Forget a stream that both sides have ended."""
        if stream.has_ended and stream.step is Step.ANSWERED:
            del self._streams[stream.stream_id]

    def _flush(self) -> None:
        """Write what can be written, and end what is over."""
        self._is_flush_due = False
        if self._is_lost:
            return
        now = self._front.monotonic()
        sent, finished = self._writer.flush(now)
        if sent:
            self._floods.pay(sent, now)
            self.progress.active_at = now
        for stream in finished:
            self._complete(stream)
        if not self._streams:
            self.progress.phase = Phase.IDLE
            self._end_stage(now)
        self._writer.write()

    def _end_stage(self, now: float) -> None:
        """Go on to the end of a connection that has no stream."""
        if self._stage is Stage.DUE:
            self._leave(now)
            return
        is_over = self._stage is Stage.LEAVING and now - self._stage_at >= GOAWAY_SECONDS
        # Not at once: what is on its way would turn the close into a reset, GOAWAY unread. And not
        # before all is taken: TLS waits for its goodbye no longer than a client may linger.
        if is_over and self._is_idle():
            self._close()

    # Ending.

    def _count_reset(self, now: float) -> None:
        floods = self._floods
        if floods.is_reset_flood(now):
            self._calm()
        elif floods.resets >= RESETS:
            self._leave(now)
        else:
            self._limit_requests(now)

    def _reset(self, stream_id: int, code: int, now: float) -> None:
        self._session.reset(stream_id, code)
        self._count_reset(now)

    def _overflow(self, stream: Stream, now: float) -> None:
        """End a stream for which nothing more may be held."""
        self._has_overflowed = True
        self._reset(stream.stream_id, ENHANCE_YOUR_CALM, now)
        if stream.stream_id in self._streams:
            self._abandon(stream)

    def _cut_upload(self, stream: Stream, now: float) -> None:
        """Tell a client that was answered to send no more (RFC 9113 section 8.1)."""
        if stream.step is Step.ANSWERED:
            del self._streams[stream.stream_id]
            self._reset(stream.stream_id, NO_ERROR, now)

    def _expire(self, now: float) -> None:
        """Have the connection end soon."""
        if self._stage is Stage.OPEN:
            self._stage = Stage.DUE
            self._stage_at = now

    def _leave(self, now: float) -> None:
        """Name the last stream; the connection closes when all are answered."""
        if self._stage < Stage.LEAVING:
            self._stage = Stage.LEAVING
            self._stage_at = now
            self._session.go_away(self._last_stream, NO_ERROR)

    def _calm(self) -> None:
        """End a connection that asks for too much."""
        if not self._is_closing:
            self._session.go_away(self._last_stream, ENHANCE_YOUR_CALM)
            self._close(cut_after=CALM_SECONDS)

    def _close(self, cut_after: float | None = None) -> None:
        """Close once what was written is taken, or is not within this time."""
        self._stage = Stage.CLOSING
        if cut_after is not None:
            self._cut_at = self._front.monotonic() + cut_after
        for stream in list(self._streams.values()):
            self._abandon(stream)
        self._writer.write()
        self._transport.close()

    # What the front asks for.

    def check_deadlines(self, now: float) -> None:
        """Act on a broken deadline; called by the front's sweep."""
        if self._is_lost:
            return
        limits = self._front.limits
        is_cut = self._cut_at is not None and now >= self._cut_at
        if is_cut or self._writer.has_stalled(now, limits.stalled_write_seconds):
            cut_off(self._transport)
        elif not self._is_closing:
            self._check_connection(now)
            if not self._is_closing:
                for stream in list(self._streams.values()):
                    self._check_stream(stream, now)
                self._flush()

    def _check_connection(self, now: float) -> None:
        """Look whether the whole connection is over."""
        limits, began = self._front.limits, self._head_began_at
        is_late = began is not None and now - began >= limits.head_seconds
        is_greedy = self._has_overflowed and self._writer.has_stalled(now, CALM_SECONDS)
        if is_late or is_greedy:
            self._calm()
        elif self._is_idle() and now - self.progress.active_at >= limits.idle_seconds:
            self.close_if_idle()
        elif self._front.is_closing(self.progress):
            self._expire(now)
        if self._stage is Stage.DUE and now - self._stage_at >= GOAWAY_SECONDS:
            self._leave(now)

    def _check_stream(self, stream: Stream, now: float) -> None:
        """Look at a request that comes too slowly, or an answered one that does not end."""
        limits = self._front.limits
        if stream.step is Step.BODY:
            if overdue(stream.progress, limits, now) is Overdue.TIME_OUT:
                response = self._front.page(408, stream.request, "the client was too slow: body")
                self._answer_early(stream, response, now)
        elif stream.step is Step.ANSWERED and now - stream.moved_at >= UPLOAD_SECONDS:
            self._cut_upload(stream, now)

    def _is_idle(self) -> bool:
        return not self._streams and not self._writer.is_paused

    def close_if_idle(self) -> None:
        """Close a connection without streams that has taken all of its responses."""
        if self._is_idle() and not self._is_closing:
            self._leave(self._front.monotonic())
            self._close()

    def evict(self) -> None:
        """End the connection, which holds most, because another one needs room."""
        self._calm()

    def abort(self) -> None:
        """End the connection at once, and the wait for invocations under way."""
        self._transport.abort()
        for task in self._tasks:  # which must have begun, or they cannot clean up
            task.get_loop().call_soon(task.cancel)

    def _maybe_forget(self) -> None:
        if self._is_lost and not self._tasks:
            self._front.forget(self)

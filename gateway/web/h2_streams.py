"""The requests of one HTTP/2 connection: judged, given room, run and answered.

A request costs nothing but parsing until the bytes that it came in are parsed. Then it is judged
and waits for its turn, or its body is read first; many run at once.
"""

import asyncio
from functools import partial
from typing import Protocol, cast

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.errors import ClientLeft, IncompleteRequest
from gateway.core.floods import CONCURRENT_STREAMS
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.limits import UPLOAD_BYTES, UPLOAD_SECONDS, Overdue, overdue, pauses
from gateway.core.outcomes import CLIENT_LEFT
from gateway.core.turns import Claim, Share
from gateway.web.front import Front
from gateway.web.h1_body import too_large
from gateway.web.h1_connection import INCOMPLETE
from gateway.web.h2_request import fault, oversized
from gateway.web.h2_stream import Stream, StreamState, held_bytes
from gateway.web.h2_writer import Writer
from gateway.web.shared_room import NO_ROOM, SharedRoom
from gateway.wire.h2 import (
    NO_ERROR,
    Data,
    Request,
    Session,
)

GOAWAY_STATUS = 0
"""In the access log: the connection was closed by GOAWAY (alb.md 4.12)."""

FREE_BODY_BYTES = 16 * 1024
"""What may come of a body before it needs room; nghttp2 gives a window back when half is used."""

WINDOW_BYTES = 65_535
"""A body no larger than its stream's first window needs no room (RFC 9113 section 6.9.2); what
comes behind a withheld window ends the connection with FLOW_CONTROL_ERROR."""


class Owner(Protocol):
    """What the streams need of their connection."""

    @property
    def is_closing(self) -> bool:
        """Say whether the connection is closed, or will be when all is taken."""
        ...

    def request_of(self, event: Request, /) -> HttpRequest:
        """Return the request that a head is."""
        ...

    def reset(self, stream_id: int, code: int, now: float, /) -> None:
        """End a stream, and the connection if it has ended too many."""
        ...

    def after_response(self, now: float, /) -> None:
        """Note that a response has begun."""
        ...

    def flush_soon(self) -> None:
        """Write what can be written, once for all that is answered in this turn."""
        ...

    def maybe_forget(self) -> None:
        """Count a lost connection out when nothing of it runs any more."""
        ...


class Streams:
    """The open streams of a connection, and invocations of streams that were reset."""

    __slots__ = (
        "_fresh",
        "_front",
        "_open",
        "_orphans",
        "_owner",
        "_session",
        "_share",
        "_shared",
        "_writer",
        "tasks",
    )

    def __init__(
        self, owner: Owner, front: Front, session: Session, writer: Writer, shared: SharedRoom
    ) -> None:
        self._owner = owner
        self._front = front
        self._session = session
        self._writer = writer
        self._shared = shared
        self._fresh: dict[int, Request] = {}
        self._open: dict[int, Stream] = {}
        self._orphans = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def begin_share(self, share: Share) -> None:
        """Take what counts the connection's memory."""
        self._share = share

    def __len__(self) -> int:
        return len(self._open) + len(self._fresh)

    @property
    def is_full(self) -> bool:
        """Say whether another stream is one too many."""
        return len(self) + self._orphans >= CONCURRENT_STREAMS

    # Reading.

    def begin(self, event: Request) -> None:
        """Take a request's head."""
        self._fresh[event.stream_id] = event

    def take_in(self, now: float) -> None:
        """Judge what has come and was not reset since."""
        fresh, self._fresh = self._fresh, {}
        for event in fresh.values():
            if not self._owner.is_closing:
                self._judge(event, now)

    def _find(self, stream_id: int, now: float) -> Stream | None:
        """Return an open stream, judged."""
        event = self._fresh.pop(stream_id, None)
        if event is not None:
            self._judge(event, now)
        return self._open.get(stream_id)

    def _judge(self, event: Request, now: float) -> None:
        """Count a request's head, and go on with it if that is within the limits."""
        request = self._owner.request_of(event)
        stream = Stream(event.stream_id, request, Claim(self._share), has_ended=event.end_stream)
        self._open[event.stream_id] = stream
        self._shared.room.hold(
            stream.claim, held_bytes(request.received_bytes, len(request.headers))
        )
        self._shared.close_largest()
        if not self._owner.is_closing:
            self._take(stream, now)

    def _take(self, stream: Stream, now: float) -> None:
        """Refuse a request for its head, let it wait for its turn, or read its body."""
        front, request = self._front, stream.request
        status = oversized(request, front.limits)
        if status:
            size = f"{request.received_bytes} bytes, {len(request.headers)} fields"
            detail = f"head with a line, a size or a number over the limit: {size}"
            self.answer_early(stream, front.page(status, request, detail), now)
        elif detail := fault(request):
            self.answer_early(stream, front.page(400, request, detail), now)
        elif stream.has_ended:
            self._ask(stream, now)
        elif (length := stream.declared()) > REQUEST_BODY_LIMIT:
            self.answer_early(stream, front.refused(request, too_large(length)), now)
        else:
            stream.expect_body(now)

    def add(self, event: Data, now: float) -> None:
        """Take a piece of a body; of a stream that was answered it is dropped."""
        stream = self._find(event.stream_id, now)
        if stream is None:
            return
        size = len(event.data)
        if stream.step is not StreamState.BODY:
            stream.dropped += size
            if stream.dropped > UPLOAD_BYTES:
                self._cut_upload(stream, now)
        elif stream.add(event.data, now):
            self._count_body(stream, size)
        else:
            response = self._front.refused(stream.request, too_large(len(stream.body)))
            self.answer_early(stream, response, now)

    def _count_body(self, stream: Stream, size: int) -> None:
        """Count a piece of a body; a large one needs room before it gets windows."""
        claim = stream.claim
        self._shared.room.receive(claim, size)
        if claim.has_room:
            return
        self._shared.close_largest()
        is_large = len(stream.body) >= FREE_BODY_BYTES
        if is_large and claim.queue is None and not self._owner.is_closing:
            self._ask_upload(stream)

    def _ask_upload(self, stream: Stream) -> None:
        """Let the rest of a large body wait for room."""
        length = stream.declared() or REQUEST_BODY_LIMIT
        if length > WINDOW_BYTES:
            self._session.withhold(stream.stream_id)
            self._shared.ask_upload(stream.claim, partial(self._grant, stream), length)

    def _grant(self, stream: Stream) -> None:
        """Let the rest of a body come."""
        self._session.give_back(stream.stream_id)
        self._owner.flush_soon()

    def end(self, stream_id: int, now: float) -> None:
        """Let a request that is complete wait for its turn; its trailers have no place in an event
        (alb.md 1.4)."""
        stream = self._find(stream_id, now)
        if stream is None:
            return
        if stream.step is StreamState.BODY:
            stream.end_body()
            self._session.give_back(stream_id)
            self._ask(stream, now)
        else:
            stream.has_ended = True
            self._maybe_finish(stream)

    def drop(self, stream_id: int) -> None:
        """Let go of a stream that was reset."""
        self._fresh.pop(stream_id, None)
        stream = self._open.get(stream_id)
        if stream is not None:
            self._abandon(stream)

    def drop_all(self) -> None:
        """Let go of all streams, because the connection ends."""
        self._fresh.clear()
        for stream in list(self._open.values()):
            self._abandon(stream)

    def _abandon(self, stream: Stream) -> None:
        """Note a request that gets no answer; one that runs is noted when it is over."""
        del self._open[stream.stream_id]
        self._writer.forget(stream)
        self._session.give_back(stream.stream_id)
        self._shared.room.forget(stream.claim)
        front, step = self._front, stream.step
        stream.step = StreamState.OVER
        stream.body = b""
        if step is StreamState.RUNNING:
            self._orphans += 1
        elif step is StreamState.BODY:
            response = front.refused(stream.request, IncompleteRequest(INCOMPLETE))
            front.note(stream.request, response, self._left(response.status), 0)
        elif step is StreamState.WAITING:
            error = ClientLeft("the client left before the request was run")
            response = front.refused(stream.request, error)
            front.note(stream.request, response, self._left(response.status), 0)
        elif step is StreamState.WRITING:
            front.note(stream.request, stream.response, self._left(CLIENT_LEFT), stream.sent_bytes)

    def _left(self, status: int) -> int:
        """Return the status to note of a stream without an answer, or without all of it."""
        return GOAWAY_STATUS if self._owner.is_closing else status

    # Answering.

    def _ask(self, stream: Stream, now: float) -> None:
        self._shared.room.ask(stream.claim, partial(self._run, stream), now)

    def _run(self, stream: Stream) -> None:
        stream.step = StreamState.RUNNING
        self.tasks.add(self._front.start(self._respond(stream)))

    async def _respond(self, stream: Stream) -> None:
        """Ask the Responder and write what it says."""
        front, request = self._front, stream.request
        try:
            response = await front.responder.respond(request)
        except asyncio.CancelledError:
            if stream.step is not StreamState.OVER:
                self._abandon(stream)
            self._end_task(stream)
            front.cancelled(request)
            raise
        except Exception as error:  # noqa: BLE001 - the outermost loop: a bug is a response
            response = front.defect(request, error)
        now = front.monotonic()
        self._shared.room.learn(self._share, len(response.body), now)
        self._end_task(stream)
        if stream.step is StreamState.OVER:
            front.note(request, response, self._left(CLIENT_LEFT), 0)
            return
        self._write(stream, response, now)
        self._owner.flush_soon()

    def _end_task(self, stream: Stream) -> None:
        """Count out an invocation."""
        self.tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if stream.step is StreamState.OVER:
            self._orphans -= 1
            self._shared.room.end(stream.claim)
            self._shared.wake()
        self._owner.maybe_forget()

    def answer_early(self, stream: Stream, response: HttpResponse, now: float) -> None:
        """Answer a request that is not complete; what still comes of it is dropped."""
        self._session.give_back(stream.stream_id)
        self._write(stream, response, now)

    def _write(self, stream: Stream, response: HttpResponse, now: float) -> None:
        """Send the head, and have the body written as far as it may go."""
        headers = stream.answer(response, self._front.date)
        self._shared.room.reply(stream.claim, stream.unsent_bytes)
        self._shared.room.hold(stream.claim, held_bytes(stream.sent_bytes, len(headers)))
        stream.moved_at = now
        is_last = not stream.unsent
        self._session.send_head(stream.stream_id, response.status, headers, is_last=is_last)
        self._owner.after_response(now)
        if stream.unsent:
            self._writer.add(stream)
            self._shared.close_largest()
        else:
            self.complete(stream)

    def complete(self, stream: Stream) -> None:
        """Note a response that is written."""
        self._shared.room.forget(stream.claim)
        self._front.note(stream.request, stream.response, stream.response.status, stream.sent_bytes)
        stream.end()
        self._maybe_finish(stream)

    def _maybe_finish(self, stream: Stream) -> None:
        """Forget a stream that both sides have ended."""
        if stream.has_ended and stream.step is StreamState.ANSWERED:
            del self._open[stream.stream_id]

    # Deadlines.

    def check(self, now: float) -> None:
        """Look at requests that come too slowly, and answered ones that do not end."""
        for stream in list(self._open.values()):
            if not self._owner.is_closing:
                self._check(stream, now)

    def refuse_pausing(self, now: float) -> None:
        """Answer requests of whose bodies nothing comes, because the gateway stops."""
        for stream in list(self._open.values()):
            is_pausing = stream.step is StreamState.BODY and pauses(stream.progress, now)
            if is_pausing and not self._owner.is_closing:
                detail = "the gateway stops, and the body pauses"
                self.answer_early(stream, self._front.page(503, stream.request, detail), now)
                self._owner.flush_soon()

    def _check(self, stream: Stream, now: float) -> None:
        limits = self._front.limits
        if stream.step is StreamState.BODY:
            if stream.claim.queue is not None:
                stream.wait_for_room(now)
                if now - stream.claim.asked_at >= limits.room_seconds:
                    response = self._front.page(503, stream.request, NO_ROOM)
                    self.answer_early(stream, response, now)
            elif overdue(stream.progress, limits, now) is Overdue.TIME_OUT:
                response = self._front.page(408, stream.request, "the client was too slow: body")
                self.answer_early(stream, response, now)
        elif stream.step is StreamState.ANSWERED and now - stream.moved_at >= UPLOAD_SECONDS:
            self._cut_upload(stream, now)

    def _cut_upload(self, stream: Stream, now: float) -> None:
        """Tell a client that was answered to send no more (RFC 9113 section 8.1)."""
        if stream.step is StreamState.ANSWERED:
            del self._open[stream.stream_id]
            self._owner.reset(stream.stream_id, NO_ERROR, now)

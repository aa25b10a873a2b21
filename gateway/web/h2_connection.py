"""One HTTP/2 connection of the listener's own front.

Every stream is a request of its own: its body is read to the end, then the Responder gets it, and
many run at once, as far as there is room for what they answer. A response goes to the parser only
as far as the client's windows allow, and only while the transport takes it, so that nothing piles
up unseen. A client that makes work without progress is told ENHANCE_YOUR_CALM and loses the
connection. GOAWAY comes in two steps.
"""

import asyncio
from typing import cast

from gateway.core.floods import CALM_SECONDS, HEADERS, Floods, Frame
from gateway.core.goaway import CLOSE_SECONDS, Ending, EndingStage
from gateway.core.http import HttpRequest, Tls
from gateway.core.limits import Phase, Progress
from gateway.core.turns import Share
from gateway.web.client_address import address
from gateway.web.front import Front
from gateway.web.h2_request import request_of
from gateway.web.h2_streams import Streams
from gateway.web.h2_writer import Writer, cut_off
from gateway.web.shared_room import SharedRoom
from gateway.wire.h2 import (
    ENHANCE_YOUR_CALM,
    NO_ERROR,
    REFUSED_STREAM,
    Broken,
    Data,
    Event,
    Frames,
    GoAway,
    Request,
    Reset,
    Session,
    Settings,
    Trailers,
    WindowUpdate,
)

SLICE_BYTES = 16 * 1024
"""What is parsed before it is judged: the parser does not stop for a flood, and a read of TLS may
hold 256 KB."""


class Http2Connection(asyncio.Protocol):
    """Reads requests, asks the Responder and writes responses, within the front's limits."""

    __slots__ = (
        "_cut_at",
        "_ending",
        "_floods",
        "_frames",
        "_front",
        "_head_began_at",
        "_is_flush_due",
        "_is_lost",
        "_last_stream",
        "_session",
        "_share",
        "_shared",
        "_streams",
        "_tls",
        "_transport",
        "_writer",
        "client",
        "connection_id",
        "progress",
        "server",
    )

    _transport: asyncio.Transport
    _floods: Floods
    _share: Share
    client: tuple[str, int]
    server: tuple[str, int]

    def __init__(self, front: Front, shared: SharedRoom, tls: Tls | None = None) -> None:
        self._front = front
        self._shared = shared
        self._tls = tls
        self._session = Session()
        self._frames = Frames()
        self._ending = Ending()
        self._last_stream = 0
        self._cut_at: float | None = None
        self._head_began_at: float | None = None
        self._is_flush_due = self._is_lost = False
        self._writer = Writer(self._session, shared.room)
        self._streams = Streams(self, front, self._session, self._writer, shared)
        self.progress = Progress()
        self.connection_id = front.draw(32)

    @property
    def is_closing(self) -> bool:
        """Say whether the connection is closed, or will be when all is taken."""
        return self._ending.stage is EndingStage.CLOSING

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or end at once what is too much."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of it
        self.client = address(transport.get_extra_info("peername"))
        self.server = address(transport.get_extra_info("sockname"))
        now = self.progress.opened_at = self.progress.active_at = self._front.monotonic()
        self._floods = Floods(now)
        self._writer.begin(self._transport)
        self._share = Share(self.client[0], self._calm)
        self._streams.begin_share(self._share)
        self._shared.room.enter(self._share)
        if self._front.admit(self):
            self._transport.write(self._session.preface())
        else:
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection, or count it until the invocations under way are over."""
        self._is_lost = True
        self._streams.drop_all()
        self._shared.room.leave(self._share)
        self._shared.wake()
        self.maybe_forget()

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
        now = self._front.monotonic()
        for start in range(0, len(data), SLICE_BYTES):
            if not self.is_closing:
                self._take(data[start : start + SLICE_BYTES], now)
        if not self.is_closing:
            self._streams.take_in(now)
            self._flush()

    # Reading.

    def _take(self, data: bytes, now: float) -> None:
        """Count and read what came."""
        frames = self._frames.scan(data)
        if self._floods.is_idle_flood(frames, now):
            self._calm()
            return
        self._note_head(frames, now)
        try:
            self._read(data, now)
        except Broken as error:
            if error.code == ENHANCE_YOUR_CALM:
                self._front.calm(self)
            self._close(cut_after=CALM_SECONDS)

    def _note_head(self, frames: list[Frame], now: float) -> None:
        """Note when the head that is not complete began."""
        if not self._frames.is_in_head:
            self._head_began_at = None
        elif self._head_began_at is None or HEADERS in [kind for kind, _, _ in frames]:
            self._head_began_at = now

    def _read(self, data: bytes, now: float) -> None:
        """Take what bytes say; raises Broken."""
        requests = 0
        for event in self._session.receive(data):
            requests += isinstance(event, Request)
            self._handle(event, now)
            if self.is_closing:
                return
        if requests:
            self._floods.pay_requests(requests, now)

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Request):
            self._begin(event, now)
        elif isinstance(event, Data):
            self._take_body(event, now)
        elif isinstance(event, Trailers):
            self._streams.end(event.stream_id, now)
        elif isinstance(event, Reset):
            self._streams.drop(event.stream_id)
            self._count_reset(now)
        elif isinstance(event, WindowUpdate | Settings):
            self._writer.is_due = True
        elif isinstance(event, GoAway):
            self._leave(now - CLOSE_SECONDS)  # nothing is on its way

    def _begin(self, event: Request, now: float) -> None:
        """Take a request's head, unless it was read with a GOAWAY that it came behind."""
        if self._ending.stage >= EndingStage.LEAVING:
            return
        if self._streams.is_full:
            self.reset(event.stream_id, REFUSED_STREAM, now)
            return
        self._last_stream = event.stream_id
        self.progress.active_at = now
        self.progress.phase = Phase.RUNNING
        self._streams.begin(event)
        fields = len(event.headers)
        if fields > self._front.limits.header_fields and self._floods.is_field_flood(fields, now):
            self._calm()

    def _take_body(self, event: Data, now: float) -> None:
        if event.data:
            self._streams.add(event, now)
            self.progress.active_at = now
        if event.end_stream:
            self._streams.end(event.stream_id, now)

    def request_of(self, event: Request) -> HttpRequest:
        """Return the request that a head is."""
        request = request_of(event, self._front, self.client, self.server, self.connection_id)
        request.tls = self._tls
        return request

    # Answering.

    def after_response(self, now: float) -> None:
        """Note that a response has begun."""
        self.progress.active_at = now
        if self._front.is_closing(self.progress):
            self._announce(now)

    def flush_soon(self) -> None:
        """Write what can be written, once for all that is answered in this turn."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._front.soon(self._flush)

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
            self._streams.complete(stream)
        if not self._streams:
            self.progress.phase = Phase.IDLE
            self._end_quiet(now)
        self._writer.write()
        self._shared.wake()

    # Ending.

    def _count_reset(self, now: float) -> None:
        if self._floods.is_reset_flood(now):
            self._calm()

    def reset(self, stream_id: int, code: int, now: float) -> None:
        """End a stream, and the connection if it has ended too many."""
        self._session.reset(stream_id, code)
        self._count_reset(now)

    def _enter(self, stage: EndingStage, now: float) -> None:
        """Go on to a stage of the ending that is due."""
        if stage is EndingStage.ANNOUNCED:
            self._announce(now)
        elif stage is EndingStage.LEAVING:
            self._leave(now)
        elif stage is EndingStage.CLOSING:
            self._close()

    def _announce(self, now: float) -> None:
        """Send the first GOAWAY: what is on its way is still answered."""
        if self._ending.enter(EndingStage.ANNOUNCED, now):
            self._session.announce_end()

    def _leave(self, now: float) -> None:
        """Name the last stream; the connection closes when all are answered."""
        if self._ending.enter(EndingStage.LEAVING, now):
            self._session.go_away(self._last_stream, NO_ERROR)

    def _end_quiet(self, now: float) -> None:
        """Go on to the end of a connection without streams that has taken all of its responses."""
        if self._is_idle() and not self.is_closing:
            quiet_seconds = now - self.progress.active_at
            self._enter(self._ending.due_without_streams(quiet_seconds, now), now)

    def _calm(self) -> None:
        """End a connection that asks for too much."""
        if not self.is_closing:
            self._front.calm(self)
            self._session.go_away(self._last_stream, ENHANCE_YOUR_CALM)
            self._close(cut_after=CALM_SECONDS)

    def _close(self, cut_after: float | None = None) -> None:
        """Close once what was written is taken, or is not within this time."""
        now = self._front.monotonic()
        self._ending.enter(EndingStage.CLOSING, now)
        if cut_after is not None:
            self._cut_at = now + cut_after
        self._streams.drop_all()
        self._writer.write()
        self._transport.close()

    # What the front asks for.

    def check_deadlines(self, now: float) -> None:
        """Act on a broken deadline; called by the front's sweep."""
        if self._is_lost:
            return
        is_cut = self._cut_at is not None and now >= self._cut_at
        if is_cut or self._writer.has_stalled(now, self._front.limits.stalled_write_seconds):
            cut_off(self._transport)
        elif not self.is_closing:
            self._check_connection(now)
            self._streams.check(now)
            self._flush()

    def _check_connection(self, now: float) -> None:
        """Look whether the whole connection is over."""
        limits, began = self._front.limits, self._head_began_at
        if (began is not None and now - began >= limits.head_seconds) or self._is_hoarding(now):
            self._calm()
        elif self._is_idle() and now - self.progress.active_at >= limits.idle_seconds:
            self.close_if_idle()
        elif self._front.is_closing(self.progress):
            self._announce(now)
            self._enter(self._ending.due(now), now)

    def _is_hoarding(self, now: float) -> bool:
        """Say whether the client takes nothing of what it has asked for, and asks for more than
        there is room for, or leaves too little for others."""
        if not self._writer.takes_nothing(now, CALM_SECONDS):
            return False
        asks_for_more = self._share.waiting > 0 and not self._writer.has_sent
        return asks_for_more or self._shared.room.is_scarce_for_others(self._share)

    def _is_idle(self) -> bool:
        return not self._streams and not self._writer.is_paused

    def close_if_idle(self) -> None:
        """Close a connection without streams that has taken all of its responses, and refuse
        bodies that pause."""
        if self.is_closing:
            return
        now = self._front.monotonic()
        if self._is_idle():
            self._leave(now)
            self._close()
        else:
            self._streams.refuse_pausing(now)

    def abort(self) -> None:
        """End the connection at once, and the wait for invocations under way."""
        self._transport.abort()
        for task in self._streams.tasks:  # which must have begun, or they cannot clean up
            task.get_loop().call_soon(task.cancel)

    def maybe_forget(self) -> None:
        """Count a lost connection out when nothing of it runs any more."""
        if self._is_lost and not self._streams.tasks:
            self._front.forget(self)

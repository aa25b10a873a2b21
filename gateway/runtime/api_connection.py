"""One connection of a runtime: reads requests, and answers in the order in which they came.

An answer that comes right before a poll waits for the poll's and goes out with it. No environment
takes the event loop or the memory of others: a connection reads for STEPS at a time, and what is
kept of a body belongs to the one answer that the environment waits for.
"""

import asyncio
import re
from typing import Protocol, cast

from gateway.core.environment import Refused, Responded, refused_transition
from gateway.core.http import header
from gateway.runtime.api_body import BodyReader
from gateway.runtime.api_routes import (
    CONTINUE,
    EVENT_HEAD,
    NEXT,
    NOT_ALLOWED,
    Answer,
    Event,
    Platform,
    Posted,
    answer_of,
    error_message,
    foreign_head,
    imported_names,
    refusal,
    said_at_once,
    taken,
)
from gateway.runtime.unread import has_left_bytes
from gateway.wire.h1 import HEAD_END, RequestParser, Unparsable

HEAD_BYTES = 1024 * 1024 + 64 * 1024
"""Clients leave out what makes a head larger than 1 MiB (lambda.md 1.3)."""

HEAD_LINES = 256
"""Lines of a head; each costs a call, and clients send about ten."""

SMALL_HEAD_BYTES = 64 * 1024
"""Of a larger head, as of a body, one at a time is held."""

AHEAD_BYTES = 64 * 1024
"""What may come behind a poll before the event has gone out; clients send nothing there."""

UPGRADE = re.compile(rb"^upgrade[ \t]*:[^\n]*\n", re.IGNORECASE | re.MULTILINE)

STEPS = 8
"""Requests, or pieces of bodies, until all other connections have their turn: about 0.2 ms."""

BODY_STATE = "InvocationResponse"
"""What a runtime is in as long as a body is read; another one would be the same state again."""

REQUEST_SECONDS = 10.0
"""From the first byte to the last of a head, and of a body that no invocation's deadline ends."""


class Siblings(Protocol):
    """What the connections of one environment share."""

    authority: bytes
    """What `Host` has to be."""

    def forget(self, connection: "ApiConnection", /) -> None:
        """Record that a connection has ended."""
        ...

    def may_hold(self, connection: "ApiConnection", /) -> bool:
        """Give a connection the right to hold something large, if no other one has it."""
        ...

    def let_go(self, connection: "ApiConnection", /) -> None:
        """Take the right back, if the connection has it."""
        ...

    def delivers(self, connection: "ApiConnection", /) -> None:
        """Record that an event goes out here: a poll elsewhere counts no more."""
        ...

    def later(self, connection: "ApiConnection", /) -> None:
        """Call `read_on` in a later turn of the event loop."""
        ...


class ApiConnection(asyncio.Protocol):
    """One connection of the runtime."""

    _transport: asyncio.Transport

    def __init__(self, platform: Platform, siblings: Siblings) -> None:
        self._platform = platform
        self._siblings = siblings
        self._loop = asyncio.get_running_loop()
        self._parser = RequestParser()
        self._buffer = bytearray()
        self._searched = 0
        """How much of the buffer holds no end of a head."""
        self._body: BodyReader | None = None
        """Of the request that is being read."""
        self._answer: Answer | None = None
        """What is posted, until it was taken or refused."""
        self._pending: list[bytes] = []
        self._waits = self._is_last = False
        """Whether the runtime waits here for an event, and whether it asks for nothing more."""
        self._is_reading = self._is_queued = self._is_stalled = False
        """Whether it is in `_read_all`, whether a later turn reads on, and whether the client does
        not read its answers."""
        self._is_connected = self._is_unwanted = False
        """Whether the transport is there: a connection may be ended before it."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_silent = False
        """Whether nothing has come since the last event was delivered."""
        self.has_left_event = False
        """Whether that event is known to be unread."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_connected = True
        if self._is_unwanted:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Say which response has not come to its end, and that no event can be delivered here."""
        if self._is_silent and not self._is_unwanted:
            self.has_left_event |= has_left_bytes(self._transport, error)
        self._is_unwanted, self._waits = True, False
        self._stop_timer()
        self._parser.release()
        self._siblings.let_go(self)
        answer, self._answer = self._answer, None
        if answer is not None and answer.kind is Responded:
            self._platform.truncated(answer.request_id)
        self._siblings.forget(self)
        self._platform.disconnected(self)

    def eof_received(self) -> None:
        """Refuse a body that has no end; the connection closes now."""
        if self._body is not None and not self._body.is_dropped:
            text = "HTTP request detected as truncated"
            self._end(error_message(400, "TruncatedHTTPRequest", text))

    def pause_writing(self) -> None:
        """Read nothing from a runtime that does not read its answers."""
        self._is_stalled = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self._is_stalled = False
        self._queue()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come, and answer what is complete."""
        self._is_silent = False
        if self._is_unwanted or self._is_last:  # the process is gone, or has said its last word
            return
        self._buffer += data
        if self._waits:
            if len(self._buffer) > AHEAD_BYTES:
                self._transport.abort()
        elif not self._is_queued and not self._is_stalled:
            self._read_all()

    def deliver(self, event: Event, /) -> None:
        """Answer the poll, and what was held back for it."""
        self._waits = False
        self._is_silent = not self._buffer
        if self._is_unwanted or self._transport.is_closing():
            self.has_left_event = True
            return
        self._siblings.delivers(self)
        length = b"Content-Length: %d\r\n\r\n" % len(event.payload)
        pieces = (*self._pending, EVENT_HEAD, event.headers, length, event.payload)
        self._pending.clear()
        self._transport.write(b"".join(pieces))
        if self._is_last:
            self._transport.close()
        elif self._buffer and not self._is_reading:
            self._queue()

    def close(self) -> None:
        """End the connection."""
        self._is_unwanted = True
        if self._is_connected:
            self._transport.abort()

    def is_behind(self) -> bool:
        """Say whether the client has not yet read what was sent to it."""
        return self._is_connected and self._transport.get_write_buffer_size() > 0

    # Reading.

    def read_on(self) -> None:
        """Go on with what is there, in a later turn."""
        self._is_queued = False
        if self._is_open() or self._waits:
            self._read_all()
        if not (self._is_queued or self._is_stalled or self._is_last or self._is_unwanted):
            self._transport.resume_reading()

    def _queue(self) -> None:
        if not (self._is_queued or self._is_last or self._is_unwanted):
            self._is_queued = True
            self._transport.pause_reading()
            self._siblings.later(self)

    def _read_all(self) -> None:
        """Read what is there, as far as it comes in this turn."""
        self._is_reading = True
        try:
            self._read_steps()
        except Unparsable as error:
            self._end(error_message(400, "InvalidRequest", str(error)))
        finally:
            self._is_reading = False
        if self._is_last or self._is_unwanted:
            return
        if self._pending and not self._waits:
            self._transport.write(b"".join(self._pending))
            self._pending.clear()
        self._watch()

    def _read_steps(self) -> None:
        """Read until a step lacks bytes; after STEPS the others have their turn."""
        for _ in range(STEPS):
            if not self._buffer or not self._is_open() or not self._step():
                return
        if self._buffer and self._is_open():
            self._queue()

    def _is_open(self) -> bool:
        """Say whether the next request may be read."""
        return not (self._waits or self._is_last or self._is_stalled or self._is_unwanted)

    def _step(self) -> bool:
        """Read a head or a piece of a body; say whether there was one."""
        if self._body is not None:
            self._read_body(self._body)
            return True
        if not self._read_head():
            return False
        self._judge()
        return True

    def _read_head(self) -> bool:
        buffer = self._buffer
        found = HEAD_END.search(buffer, max(0, self._searched - 2))
        if found is None:
            self._searched = len(buffer)
            self._check_size(len(buffer))
            return False
        self._searched = 0
        self._stop_timer()
        head = bytes(buffer[: found.end()])
        del buffer[: found.end()]
        if len(head) > SMALL_HEAD_BYTES:
            self._siblings.let_go(self)
        if head.count(b"\n") > HEAD_LINES:
            raise Unparsable(f"a head of more than {HEAD_LINES} lines")
        self._feed_head(head)
        return True

    def _feed_head(self, head: bytes) -> None:
        self._parser.feed_head(head)
        if self._parser.is_upgrade:  # Java's client offers HTTP/2 with its first request
            self._parser.release()
            self._parser = RequestParser()
            self._parser.feed_head(UPGRADE.sub(b"", head))

    def _check_size(self, size: int) -> None:
        """Refuse a head that is too large, or large while another connection holds something."""
        if size > HEAD_BYTES:
            raise Unparsable("a head of more than 1 MiB")
        if size > SMALL_HEAD_BYTES and not self._siblings.may_hold(self):
            raise Unparsable("a second large request at the same time")

    def _judge(self) -> None:
        """Answer a head, or note what its body is for."""
        parser = self._parser
        foreign = foreign_head(parser.headers, self._siblings.authority)
        if foreign:
            self._end(error_message(403, "Forbidden", foreign))
        elif parser.target == NEXT and parser.method == b"GET":
            self._poll()
        else:
            self._begin(answer_of(parser.target))

    def _begin(self, answer: Answer | None) -> None:
        parser = self._parser
        if answer is None:
            if names := imported_names(parser.target):
                self._platform.imported(names)
            self._say(said_at_once(parser.target, parser.method))
        elif parser.method != b"POST":
            self._say(NOT_ALLOWED)
        else:
            try:
                self._platform.check(answer, parser.headers)
                self._keep_body(answer)
            except Refused as refused:
                self._say(refusal(refused))

    def _keep_body(self, answer: Answer) -> None:
        """Take the answer, or begin to read its body; raises Refused beside another body."""
        if not self._siblings.may_hold(self):
            raise refused_transition(BODY_STATE, BODY_STATE)
        self._answer = answer
        if self._parser.is_complete:
            self._take(is_too_large=False)
            return
        self._body = BodyReader(self._parser, is_dropped=False)
        if self._expects_continue():
            self._pending.append(CONTINUE)

    def _expects_continue(self) -> bool:
        return (header(self._parser.headers, b"expect") or b"").lower() == b"100-continue"

    def _say(self, text: bytes) -> None:
        """Answer a head; its body, if it has one, is read and not kept."""
        self._pending.append(text)
        if self._parser.is_complete:
            self._end_request()
        elif self._expects_continue():
            self._end()  # the client may send the body now or not (RFC 9110 section 10.1.1)
        else:
            self._body = BodyReader(self._parser, is_dropped=True)

    def _end_request(self) -> None:
        """Close after a request that asks for it."""
        if not self._parser.keeps_alive:
            self._end()

    def _read_body(self, body: BodyReader) -> None:
        """Read a piece, and go on with the request after the last."""
        if not body.read(self._buffer):
            return
        self._body = None
        self._stop_timer()
        if body.is_dropped:
            self._end_request()
        else:
            self._take(is_too_large=body.is_too_large)

    # Answering.

    def _take(self, *, is_too_large: bool) -> None:
        """Give what was posted to the platform."""
        parser, answer = self._parser, cast("Answer", self._answer)
        self._answer = None
        self._siblings.let_go(self)
        body, trailers = parser.take_body(), parser.trailers()
        posted = Posted(parser.headers, body, trailers, is_too_large=is_too_large)
        self._pending.append(taken(self._platform, answer, posted))
        self._end_request()

    def _poll(self) -> None:
        if not self._parser.is_complete:
            raise Unparsable("a poll with a body")
        self._waits, self._is_last = True, not self._parser.keeps_alive
        try:
            self._platform.polled(self)
        except Refused as refused:
            self._waits = False
            self._pending.append(refusal(refused))
            self._end_request()

    def _end(self, *last: bytes) -> None:
        """Send what is left to say and close."""
        self._is_last = True
        self._transport.write(b"".join([*self._pending, *last]))
        self._pending.clear()
        self._transport.close()

    # Time.

    def _watch(self) -> None:
        """Have a request that has begun end in time; the invocation's deadline ends an answer."""
        is_bounded = self._answer is not None and self._answer.request_id != ""
        has_begun = bool(self._buffer) or self._body is not None
        if self._waits or self._is_queued or is_bounded or not has_begun:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self._loop.call_later(REQUEST_SECONDS, self.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""One keep-alive connection of the client: a request out, its response in, never two at once.

llhttp frames the responses, through httptools. Whatever is left unclear (bytes without a request, a
request that was not all taken) ends the connection; only one that is silent and clean goes
back to its owner. Deadline and idle time share one timer, which is armed again only when it comes
too late: a run of exchanges costs no timer each.
"""

import asyncio
import math
import select
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from gateway.core.http import Headers
from gateway.wire.h1 import joined

HEAD_BYTES = 64 * 1024
"""What a response may have around its body: head, chunk lines, trailers."""

AROUND_FACTOR = 8
"""And per byte of the body: a chunk of one byte has five around it."""

JOINED_BYTES = 64 * 1024
"""A smaller body is copied behind its head, so that both leave in one packet."""

QUIET_SECONDS = 1.0
"""After this silence a connection is asked whether its peer has left before it is used: peers
close what is idle for seconds, and the event loop may not have looked since."""

LENGTHS = frozenset({b"content-length", b"transfer-encoding"})

RELEASED = httptools.HttpResponseParser(object())
"""A parser that reports to no connection."""


class Unreachable(Exception):
    """The request was never sent: no address, connection, handshake or free connection in time.

    Its `__cause__` is a TimeoutError where it was time that ran out.
    """


class Interrupted(Exception):
    """The request was sent, wholly or in part, and no complete response came: it may have run."""


class DeadlineExceeded(Interrupted):
    """No complete response came before the deadline."""


class ReplyTooLarge(Interrupted):
    """The response's body is larger than the limit; it was not read to its end."""


@dataclass(slots=True)
class Reply:
    """One complete response."""

    status: int
    headers: Headers
    body: bytes


class ConnectionOwner(Protocol):
    """What a connection needs of the pool that made it."""

    loop: asyncio.AbstractEventLoop
    max_response_bytes: int
    idle_seconds: float

    def remember(self, transport: asyncio.Transport, /) -> None:
        """Look at a connection whose first response is complete."""
        ...

    def release(self, connection: "Connection", /) -> None:
        """Take back a connection that can be used again."""
        ...

    def forget(self, connection: "Connection", /) -> None:
        """Count a connection out whose socket is closed."""
        ...


class Connection(asyncio.Protocol):
    """Writes a request, reads its response and goes back to its owner, or ends."""

    __slots__ = (
        "_answer",
        "_body",
        "_due",
        "_fields",
        "_head",
        "_is_first",
        "_is_lost",
        "_keeps_alive",
        "_loop",
        "_owner",
        "_parser",
        "_received",
        "_reply",
        "_size",
        "_status",
        "_timer",
        "_timer_at",
        "_transport",
        "is_open",
    )

    _transport: asyncio.Transport

    def __init__(self, owner: ConnectionOwner) -> None:
        self._owner = owner
        self._loop = owner.loop
        self._parser = httptools.HttpResponseParser(self)
        self._reply: asyncio.Future[Reply] | None = None
        self._answer: Reply | None = None
        self._fields: Headers = []
        self._head: Headers | None = None
        self._body: bytes | bytearray = b""
        self._status = self._size = self._received = 0
        self._keeps_alive = self._is_first = True
        self._is_lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._due = math.inf
        self.is_open = False
        """Whether a request can be written."""

    # What the owner asks for.

    def start(self, request: bytes, body: bytes, deadline: float) -> asyncio.Future[Reply]:
        """Write a request; the future gets its Reply, or Interrupted.

        `deadline` is in seconds of the event loop's clock.
        """
        reply: asyncio.Future[Reply] = self._loop.create_future()
        self._reply = reply
        self._head = None
        self._body = b""
        self._size = self._received = 0
        if len(body) > JOINED_BYTES:
            self._transport.writelines((request, body))
        else:
            self._transport.write(request + body)
        self._set_due(deadline)
        return reply

    def cancel(self, reply: "asyncio.Future[Reply]") -> None:
        """End the connection if that exchange is still under way: no caller waits for it."""
        if self._reply is reply:
            self._reply = None
            self.abort()

    def is_usable(self) -> bool:
        """Say whether a request can be written to a peer that has not left."""
        if not self.is_open:
            return False
        if self._due - self._loop.time() > self._owner.idle_seconds - QUIET_SECONDS:
            return True
        watched = select.poll()
        watched.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not watched.poll(0)

    def end(self) -> None:
        """Close the connection, at once if an exchange is under way."""
        if self._reply is None:
            self.close()
        else:
            self.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self.is_open = False
        self._transport.close()

    def abort(self) -> None:
        """End the connection at once; an exchange under way is Interrupted."""
        self.is_open = False
        self._transport.abort()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; one of `start_tls` may be lost before it is taken."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of it
        self.is_open = not self._is_lost

    def data_received(self, data: bytes) -> None:
        """Read a piece of the response."""
        if self._reply is None:
            self.abort()  # unrequested: it would be taken for the next answer
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keeps_alive = False
            if self._answer is None:
                self._fail(Interrupted(f"the response is not HTTP/1.1: {error}"))
                return
        if self._size > self._owner.max_response_bytes:
            limit = self._owner.max_response_bytes
            self._fail(ReplyTooLarge(f"the response's body is over {limit} bytes"))
        elif self._answer is not None:
            self._conclude()
        elif self._received - self._size > HEAD_BYTES + AROUND_FACTOR * self._size:
            self._fail(Interrupted(f"the response has over {HEAD_BYTES} bytes around its body"))

    def eof_received(self) -> None:
        """Complete a response that says nothing of its length (RFC 9112 section 6.3); the
        connection closes now.

        Not over TLS: asyncio does not tell a close_notify from a cut (RFC 9112 section 9.8).
        """
        self.is_open = False
        head = self._head
        if self._reply is None or head is None or self._status < 200:
            return
        is_tls = self._transport.get_extra_info("ssl_object") is not None
        if not is_tls and not any(name.lower() in LENGTHS for name, _ in head):
            self._answer = Reply(self._status, head, bytes(self._body))
            self._conclude()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail an exchange under way, and have the owner forget the connection."""
        self.is_open = False
        self._is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        self._parser = RELEASED  # llhttp holds on to this object
        place = "in the middle of" if self._received else "before the first byte of"
        reason = f": {error}" if error else ""
        self._settle(Interrupted(f"the connection ended {place} the response{reason}"))
        self._owner.forget(self)

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Note a second response behind the first; called by the parser, like all of these."""
        if self._answer is not None:
            self._keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._fields.append((name, value.rstrip()))

    def on_headers_complete(self) -> None:
        """Take what came so far as the head; trailers are dropped."""
        if self._answer is None:
            self._head, self._fields = self._fields, []
            self._status = self._parser.get_status_code()
            self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, unless it is too large."""
        self._size += len(body)
        if self._size > self._owner.max_response_bytes or self._answer is not None:
            return
        self._body = joined(self._body, body)

    def on_message_complete(self) -> None:
        """Take the response; one of the 100s only announces it (RFC 9110 section 15.2)."""
        self._fields = []
        if self._status >= 200 and self._answer is None and self._head is not None:
            self._answer = Reply(self._status, self._head, bytes(self._body))

    # How an exchange ends.

    def _conclude(self) -> None:
        """Hand over the response, and the connection if nothing is left of the exchange."""
        reply, answer = self._reply, self._answer
        self._reply = self._answer = self._head = None
        self._body = b""
        if reply is not None and answer is not None and not reply.done():
            reply.set_result(answer)
        if self._is_first:
            self._is_first = False
            self._owner.remember(self._transport)
        if self._keeps_alive and self.is_open and not self._transport.get_write_buffer_size():
            self._set_due(self._loop.time() + self._owner.idle_seconds)
            self._owner.release(self)
        else:
            self.abort()

    def _fail(self, error: Interrupted) -> None:
        """Raise in the exchange under way, and end the connection."""
        self._settle(error)
        self.abort()

    def _settle(self, error: Interrupted) -> None:
        """Raise in the exchange under way, if there is one."""
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            reply.set_exception(error)

    # Time.

    def _set_due(self, due: float) -> None:
        """Have the connection looked at, at this time of the event loop's clock or earlier."""
        self._due = due
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        """End what is overdue, or wait for the rest."""
        self._timer_at = math.inf
        if self._loop.time() < self._due:
            self._set_due(self._due)
        elif self._reply is not None:
            self._fail(DeadlineExceeded("no complete response came before the deadline"))
        else:
            self.close()

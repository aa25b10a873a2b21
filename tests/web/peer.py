"""Clients of the listener's own front without a socket, on an event loop whose time a test moves.

`World` is a front with everything around it; `connect` returns a `Peer`, which is a client and the
transport that the loop would have given the connection. Time passes only in `World.wait`, all at
once, and everything that has a timer then runs as it would have.
"""

import asyncio
import selectors
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from gateway.balancer.balancer import Balancer, Forward
from gateway.core.alb import AlbCodec
from gateway.core.attributes import Attributes
from gateway.core.desync import Mode
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.interfaces import Responder
from gateway.core.invocation import FunctionRef, InvocationResult
from gateway.core.limits import Limits, Phase
from gateway.core.listener import ListenerAddress
from gateway.core.notices import OperatorWarning, RequestServed
from gateway.core.pages import Pages
from gateway.testing import FakeClock, FakeInvoker, FakeSink
from gateway.web.front import Front
from gateway.web.h1_connection import Connection

START = 1024.0
"""Small, so that quarters of a second are exact."""

DATE = b"Thu, 01 Jan 1970 00:17:04 GMT"

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"
REPLY = b'{"statusCode": 200}'

CLIENT = ("198.51.100.7", 40111)
SERVER = ("192.0.2.1", 80)
LISTENER = ListenerAddress("http", 80, "shop.example.org")

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"


class _Selector(selectors.SelectSelector):
    """Moves the clock instead of waiting."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "the event loop would never wake"
        self._clock.advance(max(0.0, timeout))
        return []


class StandingLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of ours."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_Selector(clock))
        self.time = clock.monotonic  # type: ignore[method-assign]


class Peer(asyncio.Transport):
    """A client, and the transport between it and a connection.

    `room` is how many bytes the client takes before it stops; None for all of them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        *,
        names: dict[str, Any],
        can_half_close: bool = True,
        has_socket: bool = True,
        room: int | None = None,
    ) -> None:
        super().__init__(names | ({"socket": self} if has_socket else {}))
        self._loop = loop
        self.connection = connection
        self._protocol: asyncio.Protocol = connection
        self.received = b""
        self.room = room
        self.options: list[tuple[int, int]] = []
        self.is_half_closed = self.is_closed = self.is_aborted = self.is_reading_paused = False
        self._can_half_close = can_half_close
        self._is_closing = self._is_eof_written = self._is_writing_paused = False
        self._unsent = b""
        self._inbox: list[bytes | None] = []
        self._high = self._low = 64 * 1024

    # What the client does.

    def send(self, data: bytes) -> None:
        """Send bytes; they wait while reading is paused."""
        self._inbox.append(data)
        self._deliver()

    def send_eof(self) -> None:
        """Say that no more comes."""
        self._inbox.append(None)
        self._deliver()

    def leave(self) -> None:
        """Be gone at once."""
        self._lose(ConnectionResetError())

    def take(self, size: int | None = None) -> None:
        """Take this many bytes more of what was written; without a size all, and what comes."""
        self.room = None if size is None else (self.room or 0) + size
        self._flush()

    @property
    def replies(self) -> "list[Reply]":
        return replies(self.received)

    @property
    def statuses(self) -> list[int]:
        return [reply.status for reply in self.replies]

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    # What the connection does.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def setsockopt(self, level: int, option: int, _value: bytes) -> None:
        self.options.append((level, option))

    @property
    def is_reset(self) -> bool:
        """Say whether the kernel was told to drop what it still holds."""
        return self.is_aborted and (socket.SOL_SOCKET, socket.SO_LINGER) in self.options

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._is_eof_written, "written behind the end"
        assert data, "an empty write"
        if self.is_closed or self.is_aborted:
            return
        self._unsent += bytes(data)
        self._flush()
        if len(self._unsent) > self._high and not self._is_writing_paused:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return self._can_half_close

    def write_eof(self) -> None:
        self._is_eof_written = True
        self._flush()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._inbox.clear()
            self._flush()

    def abort(self) -> None:
        self.is_aborted = True
        self._lose(None)

    def pause_reading(self) -> None:
        assert not self.is_reading_paused
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        assert self.is_reading_paused
        self.is_reading_paused = False
        self._loop.call_soon(self._deliver)

    # Between the two.

    def _deliver(self) -> None:
        while self._inbox and not (self.is_reading_paused or self._is_closing or self.is_closed):
            data = self._inbox.pop(0)
            if data is not None:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()

    def _flush(self) -> None:
        size = len(self._unsent) if self.room is None else min(self.room, len(self._unsent))
        taken, self._unsent = self._unsent[:size], self._unsent[size:]
        self.received += taken
        if self.room is not None:
            self.room -= size
        if self._is_writing_paused and len(self._unsent) <= self._low:
            self._is_writing_paused = False
            self._protocol.resume_writing()
        if not self._unsent:
            self.is_half_closed |= self._is_eof_written
            if self._is_closing:
                self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self.is_closed:
            self.is_closed = self._is_closing = True
            self._unsent = b""
            self._loop.call_soon(self._protocol.connection_lost, error)


@dataclass
class Reply:
    """One response as a client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes


def replies(received: bytes) -> list[Reply]:
    """Read responses, none of them to HEAD; a 100 is one of them."""
    found = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        assert end, f"incomplete head {head!r}"
        line, *fields = head.decode().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        size = int(headers.get("Content-Length", "0"))
        assert len(received) >= size, "incomplete body"
        found.append(Reply(int(line.split(" ")[1]), headers, received[:size]))
        received = received[size:]
    return found


def answer(text: bytes, status: int = 200, reason: str = "OK") -> HttpResponse:
    """A function's response as the codec makes it."""
    headers = [
        (b"Server", b"awselb/2.0"),
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"%d" % len(text)),
    ]
    return HttpResponse(status, reason, headers, text, 3, 1)


def told(request: HttpRequest) -> bytes:
    """What a request said, so that an answer shows which one it answers."""
    return b"%b %b?%b %d" % (
        request.method.encode("latin-1"),
        request.raw_path,
        request.query_string,
        len(request.body),
    )


class Telling:
    """A Responder that answers at once and says what it was asked."""

    def __init__(self, size: int = 0) -> None:
        self.requests: list[HttpRequest] = []
        self._size = size

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        self.requests.append(request)
        text = told(request).ljust(self._size, b".")
        response = answer(text)
        if request.method == "HEAD":
            response.body = b""
        return response


class Held:
    """A Responder that answers when told to, request by request."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self._waiting: list[asyncio.Future[HttpResponse]] = []

    def respond(self, request: HttpRequest, /) -> Awaitable[HttpResponse]:
        self.requests.append(request)
        future: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def release(self, response: HttpResponse | None = None) -> None:
        """Answer the request that waits longest."""
        future = self._waiting.pop(0)
        if not future.done():
            future.set_result(response or answer(b"released"))

    def fail(self, error: Exception) -> None:
        """Raise for the request that waits longest."""
        self._waiting.pop(0).set_exception(error)


class World:
    """A front and its clients. When it ends, nothing may be left of them."""

    def __init__(
        self,
        responder: Responder | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        mode: Mode = Mode.DEFENSIVE,
        pages: Pages | None = None,
        has_sink: bool = True,
    ) -> None:
        self.clock = FakeClock(START)
        self.loop = StandingLoop(self.clock)
        self.loop.set_exception_handler(lambda _loop, context: self.defects.append(context))
        self.defects: list[dict[str, Any]] = []
        self.sink = FakeSink()
        self.telling = Telling()
        self._drawn: Iterator[int] = iter(range(2**20))
        self.front = Front(
            responder or self.telling,
            listener=LISTENER,
            pages=pages or Pages(),
            sink=self.sink if has_sink else None,
            clock=self.clock,
            draw=lambda count: f"{next(self._drawn):0{count}x}",
            limits=limits,
            mode=mode,
            at_once=1000,
        )
        self.peers: list[Peer] = []
        self.run(self._start())

    async def _start(self) -> None:
        self.front.start_sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close(is_checked=kind is None)

    def close(self, *, is_checked: bool = True) -> None:
        """Have every client leave, and look whether anything is left."""
        for peer in self.peers:
            peer.leave()
        self.turn()
        self.front.abort()
        self.turn()
        self.front.stop()
        left = asyncio.all_tasks(self.loop)
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True)) if left else ()
        self.loop.close()
        if is_checked:
            assert not left, "a task was left"
            assert self.defects == []
            assert self.front._connections == set()
            assert self.front.members.per_address == {}
            assert self.front.members.lingering == set()
            assert self.front.shared_room.room.shares == set()
            assert self.front.shared_room.room.total == 0

    def run(self, coroutine: Awaitable[Any]) -> Any:
        """Run to the end; time passes only if there is nothing else to do."""
        return self.loop.run_until_complete(coroutine)

    def turn(self, turns: int = 8) -> None:
        """Let the event loop run without time passing."""
        for _ in range(turns):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def settle(self) -> None:
        """Let the event loop run until nothing is under way."""
        self.turn(2)
        while asyncio.all_tasks(self.loop):
            self.turn(2)

    def wait(self, seconds: float) -> None:
        """Let time pass, with all the sweeps in it."""
        self.loop.call_later(seconds, self.loop.stop)
        self.loop.run_forever()
        self.turn()

    def sweep(self) -> None:
        """Look at every deadline now."""
        for connection in list(self.front._connections):
            connection.check_deadlines(self.clock.monotonic())
        self.turn()

    def connect(self, client: Any = CLIENT, server: Any = SERVER, **options: Any) -> Peer:
        """Return a client that has connected; the options are those of Peer."""
        connection = self.front()
        names = {"peername": client, "sockname": server}
        peer = Peer(self.loop, connection, names=names, **options)
        self.peers.append(peer)
        connection.connection_made(peer)
        self.turn()
        return peer

    def exchange(self, *pieces: bytes) -> Peer:
        """Connect, send, and let the loop run after each piece."""
        peer = self.connect()
        for piece in pieces:
            peer.send(piece)
            self.turn()
        return peer

    @property
    def requests(self) -> list[HttpRequest]:
        return self.telling.requests

    @property
    def asked(self) -> HttpRequest:
        """The one request that the Responder was given."""
        (request,) = self.requests
        return request

    @property
    def served(self) -> list[RequestServed]:
        return [notice for notice in self.sink.notices if isinstance(notice, RequestServed)]

    @property
    def noted(self) -> list[tuple[int, int]]:
        """Status and bytes sent of every request that is over."""
        return [(notice.elb_status, notice.sent_bytes) for notice in self.served]

    @property
    def warnings(self) -> list[str]:
        return [item.text for item in self.sink.notices if isinstance(item, OperatorWarning)]


def phase(peer: Peer) -> Phase:
    return peer.connection.progress.phase


def post(body: bytes, *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = [b"POST /a HTTP/" + version, b"Host: a", *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", body])


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    lines = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    return lines + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def balancer(*replies: bytes, port: int = 80) -> tuple[Balancer, FakeInvoker]:
    """A real balancer, and the invoker that gives these replies and shows what it was asked."""
    listener = ListenerAddress("http", port, "shop-1.eu-west-1.elb.amazonaws.com")
    group = Forward(ARN, FunctionRef("shop", "", ""), AlbCodec(ARN, listener, Attributes()))
    invoker = FakeInvoker([InvocationResult(reply) for reply in replies or 8 * [REPLY]])
    draw = "0123456789abcdef".__mul__
    return Balancer(group, invoker, pages=Pages(), clock=FakeClock(), draw=draw), invoker


Serve = Callable[..., World]

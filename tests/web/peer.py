"""Clients of the listener's own front without a socket, on an event loop whose time a test moves.

`World` is a front with everything around it; `connect` returns a `Peer`, which is a client and the
transport that the loop would have given the connection. Time passes only in `World.wait`, all at
once, and everything that has a timer then runs as it would have.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self

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
from gateway.web.h1_connection import Http1Connection
from tests.web.transport import Peer, StandingLoop

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
        self.waiting: list[asyncio.Future[HttpResponse]] = []

    def respond(self, request: HttpRequest, /) -> Awaitable[HttpResponse]:
        self.requests.append(request)
        future: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future

    def release(self, response: HttpResponse | None = None) -> None:
        """Answer the request that waits longest."""
        future = self.waiting.pop(0)
        if not future.done():
            future.set_result(response or answer(b"released"))

    def fail(self, error: Exception) -> None:
        """Raise for the request that waits longest."""
        self.waiting.pop(0).set_exception(error)


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
            assert self.front.members.connections == set()
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
        for connection in list(self.front.members.connections):
            connection.check_deadlines(self.clock.monotonic())
        self.turn()

    def connect(self, client: Any = CLIENT, server: Any = SERVER, **options: Any) -> Peer:
        """Return a client that has connected; the options are those of Peer."""
        connection = Http1Connection(self.front)
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

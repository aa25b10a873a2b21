"""One ASGI exchange in memory: what a server hands over and what it is told."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from typing import Any

from gateway.balancer.balancer import Balancer, Forward
from gateway.core.alb import REQUEST_BODY_LIMIT, AlbCodec
from gateway.core.attributes import Attributes
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.interfaces import Responder
from gateway.core.invocation import FunctionRef, InvocationResult
from gateway.core.listener import ListenerAddress
from gateway.core.notices import RequestServed
from gateway.core.pages import Pages
from gateway.testing import FakeClock, FakeInvoker, FakeSink
from gateway.web.asgi import AsgiFront, Message, Scope
from gateway.web.exchanges import Exchanges

PATIENCE_SECONDS = 5.0

NOW = 1_700_000_000.0
DATE = formatdate(NOW, usegmt=True).encode()
ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"

LISTENER = ListenerAddress("http", 80, "shop-1234567890.eu-west-1.elb.amazonaws.com")

DISCONNECT: Message = {"type": "http.disconnect"}
CHUNK = b"x" * 64 * 1024
MEGABYTES = [CHUNK] * (REQUEST_BODY_LIMIT // len(CHUNK))


def body(*chunks: bytes) -> list[Message]:
    """The messages of a body that comes in these chunks."""
    last = len(chunks) - 1
    return [
        {"type": "http.request", "body": chunk, "more_body": index < last}
        for index, chunk in enumerate(chunks)
    ]


NO_BODY = tuple(body(b""))


def scope(**changes: Any) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"x=1",
        "root_path": "",
        "headers": [(b"host", b"shop.example.org")],
        "client": ("198.51.100.7", 40111),
        "server": ("192.0.2.1", 80),
    } | changes


class Server:
    """An ASGI server with one client; when its messages are used up, the client keeps waiting."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages: Iterator[Message] = iter(messages)
        self.given: list[Message] = []
        self.received = 0
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        message = next(self._messages, None)
        if message is None:
            await asyncio.Event().wait()
            raise AssertionError
        self.given.append(message)
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class Answering:
    """A Responder that gives one answer and keeps what it was asked."""

    def __init__(
        self,
        response: HttpResponse | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self._response = response or Pages().page(404)
        self._meanwhile = meanwhile
        self.requests: list[HttpRequest] = []

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        self.requests.append(request)
        self._meanwhile()
        return self._response


class World:
    """A front with everything around it."""

    def __init__(self, responder: Responder | None = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock(NOW)
        self.sink = FakeSink()
        exchanges = Exchanges(LISTENER, pages=Pages(), sink=self.sink, clock=self.clock)
        self.front = AsgiFront(responder or Answering(), exchanges, clock=self.clock)

    async def serve(self, messages: Iterable[Message] = NO_BODY, **changes: Any) -> Server:
        server = Server(messages)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.front(scope(**changes), server.receive, server.send)
        return server

    @property
    def notice(self) -> RequestServed:
        (notice,) = self.sink.notices
        assert isinstance(notice, RequestServed)
        return notice


def shop(*replies: dict[str, Any]) -> Balancer:
    """A real balancer in front of a function that gives these replies."""
    group = Forward(ARN, FunctionRef("shop", "", ""), AlbCodec(ARN, LISTENER, Attributes()))
    answers = [InvocationResult(json.dumps(reply).encode()) for reply in replies]
    return Balancer(
        group,
        FakeInvoker([*answers]),
        pages=Pages(),
        clock=FakeClock(NOW),
        draw="0123456789abcdef".__mul__,
    )


CHUNKED = (b"transfer-encoding", b"chunked")


def framed(size: int, *, is_declared: bool = True) -> dict[str, Any]:
    return {"headers": [(b"content-length", b"%d" % size) if is_declared else CHUNKED]}

"""For users' tests: a handler behind the load balancer's codec, called through httpx in this
process.

    from gateway.testing import client
    with client(handler) as web:
        assert web.get("/").status_code == 200
        assert web.events[0]["path"] == "/"

No socket and no server: a request becomes an event, the handler runs on the calling thread, its
reply becomes a response, all by the code that `gateway serve` uses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import reduce
from typing import Any

import httpx
import orjson

from gateway.compose.listener import balancer, forward
from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.core.attributes import Attributes, with_attribute
from gateway.core.errors import GatewayError
from gateway.core.http import (
    Forwarding,
    HttpRequest,
    HttpResponse,
    wire_headers,
    wishes_close,
)
from gateway.core.invocation import LATEST, Invocation, InvocationResult
from gateway.core.listener import ListenerAddress, listener_address
from gateway.core.notices import Notice
from gateway.invokers.in_process import InProcess, InProcessSettings
from gateway.runtime.child.lambda_context import FunctionSettings
from gateway.telemetry.system import SystemClock

Handler = Callable[[Any, Any], Any]

DEFAULT_URL = "http://shop.example.org"


class FakeClock:
    """A clock that only a test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        """Return epoch seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the same seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds


@dataclass
class FakeInvoker:
    """An Invoker that answers from a list and remembers what it was asked; an exception is
    raised."""

    answers: list[InvocationResult | GatewayError]
    invocations: list[Invocation] = field(default_factory=list)

    async def invoke(self, invocation: Invocation, /) -> InvocationResult:
        """Return, or raise, the next answer."""
        self.invocations.append(invocation)
        answer = self.answers.pop(0)
        if isinstance(answer, GatewayError):
            raise answer
        return answer


@dataclass
class FakeSink:
    """A Sink that keeps what it is told."""

    notices: list[Notice] = field(default_factory=list)

    def emit(self, notice: Notice, /) -> None:
        """Keep the notice."""
        self.notices.append(notice)


@dataclass
class Recorded:
    """What went to the handler and came from it, in order."""

    events: list[dict[str, Any]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    """The replies as JSON, or as text where they are not JSON; a function error's payload where the
    handler failed."""
    outcomes: list[Forwarding] = field(default_factory=list)
    """Why a response is a 502: `error_reason` and `detail`."""


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """An httpx transport whose far end is a handler."""

    def __init__(self, handler: Handler, described: Document, seen_as: ListenerAddress) -> None:
        self.recorded = Recorded()
        [function] = described.functions
        [listener] = described.listeners
        settings = FunctionSettings(
            function_name=function.completed_name(),
            function_version=LATEST,
            memory_limit_in_mb=str(function.memory_mb),
        )
        self._invoker = InProcess(
            InProcessSettings(function.handler, function.timeout_seconds, threads=0),
            handler,
            function=settings,
            clock=SystemClock(),
        )
        self._balancer = balancer(listener, forward(described, listener, seen_as), self._invoker)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response to a request."""
        return self._exchanged(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response to a request."""
        return self._exchanged(request, await request.aread())

    def _exchanged(self, request: httpx.Request, body: bytes) -> httpx.Response:
        asked = http_request(request, body)
        response = self._respond(asked)
        response.close = response.close or wishes_close(asked)
        return http_response(response, request)

    def _respond(self, request: HttpRequest) -> HttpResponse:
        forwarding = Forwarding()
        self.recorded.outcomes.append(forwarding)
        try:
            invocation = self._balancer.begin(request, forwarding)
            self.recorded.events.append(orjson.loads(invocation.payload))
            result = self._invoker.run(invocation)
            self.recorded.results.append(read_back(result.payload))
            return self._balancer.conclude(request, forwarding, result)
        except GatewayError as error:
            return self._balancer.failed(request, forwarding, error)


class Recording:
    """The captured traffic of a client, also reachable on the client itself."""

    recorded: Recorded

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the events that the handler was given."""
        return self.recorded.events

    @property
    def results(self) -> list[Any]:
        """Return what the handler returned, as JSON read back; as text where it is not JSON."""
        return self.recorded.results

    @property
    def outcomes(self) -> list[Forwarding]:
        """Return per request why it failed, if it did: `error_reason` and `detail`."""
        return self.recorded.outcomes


class Client(Recording, httpx.Client):
    """An httpx client whose far end is a handler."""

    def __init__(self, transport: Transport, **options: Any) -> None:
        super().__init__(transport=transport, **options)
        self.recorded = transport.recorded


class AsyncClient(Recording, httpx.AsyncClient):
    """An asynchronous httpx client whose far end is a handler."""

    def __init__(self, transport: Transport, **options: Any) -> None:
        super().__init__(transport=transport, **options)
        self.recorded = transport.recorded


def client(handler: Handler, url: str = DEFAULT_URL, **options: Any) -> Client:
    """Return a client for a handler behind the listener at `url`.

    Options: `attributes` (AWS's `KEY=VALUE`s), `multi_value_headers`, `timeout_seconds` and
    `faithful`; any other goes to httpx.
    """
    transport = _transport(handler, url, options)
    return Client(transport, base_url=url, **options)


def async_client(handler: Handler, url: str = DEFAULT_URL, **options: Any) -> AsyncClient:
    """Return an asynchronous client; the options are those of `client`."""
    transport = _transport(handler, url, options)
    return AsyncClient(transport, base_url=url, **options)


def _transport(handler: Handler, url: str, options: dict[str, Any]) -> Transport:
    """Take our options out of all options and build the far end."""
    settings: Sequence[str] = options.pop("attributes", ())
    is_multi = options.pop("multi_value_headers", False)
    attributes = reduce(with_attribute, settings, Attributes(multi_value_headers=is_multi))
    function = Function(
        getattr(handler, "__qualname__", "handler"),
        name="test",
        timeout_seconds=options.pop("timeout_seconds", 3.0),
    )
    is_faithful = options.pop("faithful", False)
    described = document(function, attributes=attributes, is_faithful=is_faithful)
    found = listener_address(url)
    return Transport(handler, described, ListenerAddress(found.scheme, found.port, found.dns_name))


def read_back(payload: bytes) -> Any:
    """Return the payload as JSON, or as text when the load balancer could not read it either."""
    try:
        return orjson.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")


def http_request(request: httpx.Request, body: bytes) -> HttpRequest:
    """Return the request as a listener would have received it."""
    target = request.url.raw_path
    raw_path, _, query = target.partition(b"?")
    clock = SystemClock()
    return HttpRequest(
        request.method,
        target,
        raw_path,
        query,
        list(request.headers.raw),
        body,
        client=("127.0.0.1", 40111),
        scheme=request.url.scheme,
        arrived_at=clock.now(),
    )


def http_response(response: HttpResponse, request: httpx.Request) -> httpx.Response:
    """Return the response as it would have come over the wire."""
    date = formatdate(SystemClock().now(), usegmt=True).encode()
    connection = b"close" if response.close else b"keep-alive"
    headers = wire_headers(response, date=date, connection=connection)
    return httpx.Response(
        response.status,
        headers=headers,
        stream=httpx.ByteStream(response.body),
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": response.reason.encode()},
        request=request,
    )

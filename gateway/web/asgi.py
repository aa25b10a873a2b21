"""The portable front: the Responder as a plain ASGI application for uvicorn or any other ASGI
server.

It is complete but for what ASGI hides: the raw head (so no desync judgement), deadlines while a
request comes in, the absolute form of a target, and the reason phrase going out. Anything it
refuses is answered with the load balancer's own page.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.errors import (
    GatewayError,
    IncompleteRequest,
    RequestTooLarge,
    WebSocketNotSupported,
)
from gateway.core.http import (
    Forwarding,
    Headers,
    HttpRequest,
    HttpResponse,
    header,
    wire_headers,
    wishes_close,
)
from gateway.core.interfaces import Clock, Responder, Sink
from gateway.core.notices import RequestServed
from gateway.core.outcomes import outcome
from gateway.core.pages import Pages
from gateway.core.tracing import header_bytes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DRAIN_LIMIT = 2 * 1024 * 1024
"""Bytes of a refused body that are read and dropped, so that the client sees the 413 and no
reset."""

DISCONNECT_CHECK_SECONDS = 0.05
"""A response that took longer than this is first checked for a client that left (460); asking
costs a task, and of a faster response nobody can say whether its client waited."""

CLIENT_LEFT = 460

PLAIN_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

LOGGER = logging.getLogger(__name__)


class AsgiFront:
    """Answers ASGI `http` scopes through a Responder; `websocket` scopes are refused."""

    def __init__(self, responder: Responder, *, pages: Pages, sink: Sink, clock: Clock) -> None:
        self._responder = responder
        self._pages = pages
        self._sink = sink
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "http":
            await self._serve(request_from_scope(scope, self._clock.now()), receive, send)
        elif scope["type"] == "websocket":
            await self._refuse_websocket(scope, receive, send)

    async def _serve(self, request: HttpRequest, receive: Receive, send: Send) -> None:
        try:
            response = await self._response(request, receive)
        except asyncio.CancelledError:  # some servers cancel when the client leaves
            self._note(request, self._pages.page(502, request), CLIENT_LEFT)
            raise
        waited = self._clock.now() - request.arrived_at
        if waited > DISCONNECT_CHECK_SECONDS and await has_left(receive):
            self._note(request, response, CLIENT_LEFT)
            return
        await self._write(request, response, send)

    async def _response(self, request: HttpRequest, receive: Receive) -> HttpResponse:
        try:
            request.body = await read_body(request.headers, receive)
        except GatewayError as error:
            return self._refused(request, error)
        try:
            return await self._responder.respond(request)
        except Exception as error:  # the outermost loop: a bug must not end the connection
            LOGGER.exception("the gateway failed")
            return self._refused(request, GatewayError(repr(error)))

    def _refused(self, request: HttpRequest, error: GatewayError) -> HttpResponse:
        status, reason = outcome(error)
        response = self._pages.page(status, request)
        response.forwarding = Forwarding(error_reason=reason, detail=str(error))
        return response

    async def _write(self, request: HttpRequest, response: HttpResponse, send: Send) -> None:
        connection = None
        if request.http_version in {"1.0", "1.1"}:
            connection = b"close" if response.close or wishes_close(request) else b"keep-alive"
        date = formatdate(self._clock.now(), usegmt=True).encode("ascii")
        given = wire_headers(response, date=date, connection=connection)
        headers = [(name.lower(), value) for name, value in given]  # ASGI wants lower case
        self._note(request, response, response.status, headers)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    def _note(
        self,
        request: HttpRequest,
        response: HttpResponse,
        elb_status: int,
        sent: Headers | None = None,
    ) -> None:
        sent_bytes = 0
        if sent is not None:
            sent_bytes = len(f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n")
            sent_bytes += header_bytes(sent) + len(response.body)
        now = self._clock.now()
        self._sink.emit(RequestServed(request, response, elb_status, sent_bytes, now))

    async def _refuse_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 where the server can send a response to an upgrade, else reject it."""
        await receive()
        request = request_from_scope({**scope, "method": "GET"}, self._clock.now())
        response = self._refused(request, WebSocketNotSupported("WebSocket in front of Lambda"))
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close"})
            return
        headers = [(name.lower(), value) for name, value in response.headers]
        start = {"type": "websocket.http.response.start", "status": 400, "headers": headers}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": response.body})
        self._note(request, response, 400, response.headers)


def request_from_scope(scope: Scope, now: float) -> HttpRequest:
    """Return the request of an ASGI `http` scope, its body still to come."""
    raw_path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    query = scope["query_string"]
    client, server = scope.get("client"), scope.get("server")
    return HttpRequest(
        scope["method"],
        raw_path + b"?" + query if query else raw_path,
        raw_path,
        query,
        list(scope["headers"]),
        client=(client[0], client[1]) if client else ("127.0.0.1", 0),
        server=(server[0], server[1] or 0) if server else ("127.0.0.1", 0),
        scheme=PLAIN_SCHEMES[scope["scheme"]],
        http_version=scope["http_version"],
        arrived_at=now,
    )


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """Return the body; raises RequestTooLarge without having stored it, IncompleteRequest."""
    message = await next_body_message(receive)
    body = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= REQUEST_BODY_LIMIT:
        return bytes(body)
    declared = header(headers, b"content-length") or b""
    if declared.isdigit() and int(declared) > REQUEST_BODY_LIMIT:
        await drain(message, receive)
        raise RequestTooLarge(f"body of {int(declared)} bytes, {REQUEST_BODY_LIMIT} allowed")
    chunks = bytearray(body)
    while message.get("more_body", False) and len(chunks) <= REQUEST_BODY_LIMIT:
        message = await next_body_message(receive)
        chunks += message.get("body", b"")
    if len(chunks) > REQUEST_BODY_LIMIT:
        chunks.clear()
        await drain(message, receive)
        raise RequestTooLarge(f"body over {REQUEST_BODY_LIMIT} bytes")
    return bytes(chunks)


async def next_body_message(receive: Receive) -> Message:
    """Return the next `http.request` message; raises IncompleteRequest when the client has left."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise IncompleteRequest("the client left before its body was complete")
    return message


async def drain(message: Message, receive: Receive) -> None:
    """Drop what a refused client still sends, up to a limit."""
    left = DRAIN_LIMIT
    while left > 0 and message.get("more_body", False):
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            return


async def has_left(receive: Receive) -> bool:
    """Say whether the client has disconnected, without waiting for it to."""
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(_receive(receive))
        for _ in range(
            2
        ):  # one turn to start the task, one for servers that hand over through a queue
            await _next_turn()
        if not asking.done():
            asking.cancel()
            return False
    return bool(asking.result()["type"] == "http.disconnect")


async def _receive(receive: Receive) -> Message:
    return await receive()


async def _next_turn() -> None:
    """Let the event loop run once."""
    await asyncio.sleep(0)  # noqa: TID251 - no time passes here

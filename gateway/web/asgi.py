"""The portable front: the Responder as a plain ASGI application for uvicorn or any other ASGI
server.

It is complete but for what ASGI hides: the raw head (so no desync judgement), deadlines while a
request comes in, the absolute form of a target, and the reason phrase going out. Anything it
refuses is answered with the load balancer's own page.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from gateway.core.errors import (
    IncompleteRequest,
    RequestTooLarge,
    WebSocketNotSupported,
)
from gateway.core.http import (
    Headers,
    HttpRequest,
    HttpResponse,
    http_date,
    wire_headers,
    wishes_close,
)
from gateway.core.interfaces import Clock, Responder
from gateway.core.outcomes import CLIENT_LEFT
from gateway.core.tracing import header_bytes
from gateway.web.asgi_body import Message, Receive, has_body, has_left, read_body
from gateway.web.exchanges import Exchanges
from gateway.web.server_headers import ServerHeaders, added_headers

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

DISCONNECT_CHECK_SECONDS = 0.05
"""A response that took longer than this is first checked for a client that left (460); asking
costs a task, and of a faster response it is unknown whether its client waited."""

WEBSOCKET_REJECTED = 403
"""What a server makes of `websocket.close` when it cannot send a response of ours (ASGI
specification)."""

HTTP_RESPONSE = "http.response"
WEBSOCKET_RESPONSE = "websocket.http.response"
"""What the two messages of a response begin with."""

PLAIN_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class AsgiFront:
    """Answers ASGI `http` scopes through a Responder; `websocket` scopes are refused."""

    def __init__(
        self,
        responder: Responder,
        exchanges: Exchanges,
        *,
        clock: Clock,
        server_headers: ServerHeaders = "send",
    ) -> None:
        """Take what answers, and whether Server and Date are sent."""
        self._server_headers = server_headers
        self._responder = responder
        self._exchanges = exchanges
        self._now = clock.now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "http":
            await self._serve(request_from_scope(scope, self._now()), receive, send)
        elif scope["type"] == "websocket":
            await self._refuse_websocket(scope, receive, send)

    async def _serve(self, request: HttpRequest, receive: Receive, send: Send) -> None:
        try:
            response = await self._response(request, receive)
            if self._is_slow(request) and await has_left(receive):
                self._exchanges.note(request, response, CLIENT_LEFT, 0)
                return
        except IncompleteRequest as error:
            self._exchanges.unanswered(request, error)
            return
        except asyncio.CancelledError:  # some servers cancel when the client leaves
            self._exchanges.cancelled(request)
            raise
        await self._write(request, response, send, HTTP_RESPONSE)

    async def _response(self, request: HttpRequest, receive: Receive) -> HttpResponse:
        """Return what answers a request; raises IncompleteRequest."""
        if has_body(request):
            try:
                request.body = await read_body(request.headers, receive)
            except RequestTooLarge as error:
                return self._exchanges.refused(request, error)
        try:
            return await self._responder.respond(request)
        except Exception as error:  # noqa: BLE001 - the outermost loop: a bug is a response
            return self._exchanges.defect(request, error)

    def _is_slow(self, request: HttpRequest) -> bool:
        return self._now() - request.arrived_at > DISCONNECT_CHECK_SECONDS

    async def _write(
        self, request: HttpRequest, response: HttpResponse, send: Send, kind: str
    ) -> None:
        connection = None
        if request.http_version in {"1.0", "1.1"}:
            # Servers never keep an HTTP/1.0 connection, and uvicorn would add a second header.
            is_last = request.http_version == "1.0" or response.close or wishes_close(request)
            connection = b"close" if is_last else b"keep-alive"
        date = http_date(int(self._now()))
        given = wire_headers(response, date=date, connection=connection)
        omitted = added_headers(send, self._server_headers)
        lower = ((name.lower(), value) for name, value in given)  # ASGI wants lower case
        headers = [(name, value) for name, value in lower if name not in omitted]
        self._exchanges.note(request, response, response.status, sent_bytes(response, headers))
        start = {"type": f"{kind}.start", "status": response.status, "headers": headers}
        try:
            await send(start)
            await send({"type": f"{kind}.body", "body": response.body})
        except OSError:
            pass  # what ASGI 2.4 servers raise when the client has gone

    async def _refuse_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 where the server can send a response to an upgrade, else reject it."""
        await receive()
        request = request_from_scope({**scope, "method": "GET"}, self._now())
        error = WebSocketNotSupported("WebSocket in front of Lambda")
        response = self._exchanges.refused(request, error)
        if WEBSOCKET_RESPONSE in (scope.get("extensions") or {}):
            await self._write(request, response, send, WEBSOCKET_RESPONSE)
            return
        self._exchanges.note(request, response, WEBSOCKET_REJECTED, 0)
        await send({"type": "websocket.close"})


def sent_bytes(response: HttpResponse, headers: Headers) -> int:
    """Return the size of a response as HTTP/1.1 would have it."""
    status_line = f"HTTP/1.1 {response.status} {response.reason}\r\n\r\n"
    return len(status_line) + header_bytes(headers) + len(response.body)


def request_from_scope(scope: Scope, now: float) -> HttpRequest:
    """Return the request of an ASGI `http` scope, its body still to come."""
    raw_path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    query = scope.get("query_string", b"")
    client, server = scope.get("client"), scope.get("server")
    return HttpRequest(
        scope["method"],
        raw_path + b"?" + query if query else raw_path,
        raw_path,
        query,
        list(scope["headers"]),
        client=(client[0], client[1]) if client else ("127.0.0.1", 0),
        server=(server[0], server[1] or 0) if server else ("127.0.0.1", 0),
        scheme=plain_scheme(scope),
        http_version=scope.get("http_version", "1.1"),
        arrived_at=now,
    )


def plain_scheme(scope: Scope) -> str:
    """Return http or https; a server may leave the scheme out."""
    return PLAIN_SCHEMES.get(scope.get("scheme", "http"), "http")

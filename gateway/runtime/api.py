"""The Runtime API of one execution environment (lambda.md 1.1, 1.2), on a loopback port of its own.

Connections read requests and ask a `Platform` what to do; how the environment lives is decided in
core/environment.py. Answers go out in order. One that nobody can be waiting for alone, because
the next request came right behind, waits for the next one and goes out with it.
"""

import asyncio
import re
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, cast
from urllib.parse import unquote_to_bytes

import orjson

from gateway.core.environment import Refused
from gateway.core.function_errors import MAX_RESPONSE_BYTES, without_cause
from gateway.core.http import Headers, header
from gateway.wire.h1 import HEAD_END, RequestParser, Unparsable, message

VERSION = b"/2018-06-01/"
INVOCATION = re.compile(VERSION + rb"runtime/invocation/([^/]+)/(response|error)")
HEAD_BYTES = 1024 * 1024 + 64 * 1024
"""Clients leave out what makes a head larger than 1 MiB (lambda.md 1.3)."""

CONNECTIONS = 64
"""What one environment may have open at once: the descriptors are the gateway's."""

BACKLOG = 16
HAND_OVER_TURNS = 5
"""Turns of the event loop until an accepted connection is made, aborted and lost."""

PORT_SECONDS = 60
"""How long a port is not given to another environment: a stray client may still know it."""

PORTS = 4096
"""How many given back are remembered."""

PORT_TRIES = 64
JSON = b"application/json"
ACCEPTED = b'{"status":"OK"}\n'


class Event:
    """What `/next` answers with: the invocation's headers and its event."""

    __slots__ = ("headers", "payload")

    def __init__(self, headers: bytes, payload: bytes) -> None:
        self.headers = headers
        """Complete header lines."""
        self.payload = payload


class Posted:
    """What a runtime posted."""

    __slots__ = ("body", "headers", "is_too_large", "trailers")

    def __init__(
        self, headers: Headers, body: bytes, trailers: Headers, *, is_too_large: bool = False
    ) -> None:
        self.headers = headers
        self.body = body
        """Empty when it was too large."""
        self.trailers = trailers
        self.is_too_large = is_too_large

    def header(self, name: bytes) -> str:
        """Return the value of a header, or the empty text."""
        return (header(self.headers, name) or b"").decode("latin-1")

    def trailer(self, name: bytes) -> str:
        """Return the value of a trailer, or the empty text."""
        return (header(self.trailers, name) or b"").decode("latin-1")


class Platform(Protocol):
    """Whoever runs the environment; its methods raise Refused."""

    def polled(self, connection: "ApiConnection", /) -> None:
        """Take note that the runtime waits, on this connection."""
        ...

    def responded(self, request_id: str, posted: Posted, /) -> None:
        """Take the response of an invocation."""
        ...

    def errored(self, request_id: str, posted: Posted, /) -> None:
        """Take the error of an invocation."""
        ...

    def init_errored(self, posted: Posted, /) -> None:
        """Take an error of the init phase."""
        ...

    def truncated(self, request_id: str, /) -> None:
        """Take note that a response ended in the middle."""
        ...


Take = Callable[[Any, re.Match[bytes], Posted], bytes]


class ApiConnection(asyncio.Protocol):
    """One connection of the runtime."""

    _transport: asyncio.Transport

    def __init__(self, platform: Platform, forget: Callable[["ApiConnection"], None]) -> None:
        self._platform = platform
        self._forget = forget
        self._parser = RequestParser()
        self._buffer = b""
        self._searched = 0
        """How much of the buffer holds no end of a head."""
        self._in_body = self._is_too_large = False
        self._body_left = -1
        """Of a body with a length."""
        self._silent = 0
        """Bytes since the last one of a body: chunk extensions and trailers."""
        self._target = b""
        self._pending: list[bytes] = []
        self._waits = self._is_last = False
        """Whether the runtime waits here for an event, and whether it asks for nothing more."""
        self._is_connected = self._is_unwanted = False
        """Whether the transport is there: a connection may be ended before it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_connected = True
        if self._is_unwanted:
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """Say which response has not come to its end."""
        self._waits = False
        self._parser.release()
        found = INVOCATION.fullmatch(self._target) if self._in_body else None
        if found and found[2] == b"response":
            self._platform.truncated(unescaped(found[1]))
        self._forget(self)

    def eof_received(self) -> None:
        """Refuse a body that has no end; the connection closes now."""
        if self._in_body:
            text = "HTTP request detected as truncated"
            self._refuse(error_message(400, "TruncatedHTTPRequest", text))

    def pause_writing(self) -> None:
        """Read nothing from a runtime that does not read its answers."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come, and answer what is complete."""
        if self._is_unwanted:  # from a process that is gone already
            return
        self._buffer = self._buffer + data if self._buffer else data
        try:
            while self._buffer and not self._waits and not self._is_last and self._read():
                pass
        except Unparsable as error:
            self._refuse(error_message(400, "InvalidRequest", str(error)))
            return
        if self._waits:
            if len(self._buffer) > HEAD_BYTES:  # no client sends this much ahead
                self._transport.abort()
        elif self._pending:
            self._flush()

    def _refuse(self, answer: bytes) -> None:
        self._pending.append(answer)
        self._is_last = True
        self._flush()

    def _flush(self) -> None:
        self._transport.write(b"".join(self._pending))
        self._pending.clear()
        if self._is_last:
            self._transport.close()

    # Reading.

    def _read(self) -> bool:
        """Read on; says whether a request is complete now."""
        if not self._in_body and not self._read_head():
            return False
        if self._in_body and not self._read_body():
            return False
        self._serve()
        return True

    def _read_head(self) -> bool:
        found = HEAD_END.search(self._buffer, max(0, self._searched - 2))
        if found is None:
            self._searched = len(self._buffer)
            if self._searched > HEAD_BYTES:
                raise Unparsable("a head of more than 1 MiB")
            return False
        self._searched = 0
        parser = self._parser
        parser.feed_head(self._buffer[: found.end()])
        self._buffer = self._buffer[found.end() :]
        self._target = parser.target
        if not parser.is_complete:
            self._begin_body(parser)
        return True

    def _begin_body(self, parser: RequestParser) -> None:
        """Note how the body ends: after so many bytes, or with its last chunk."""
        self._in_body = True
        self._is_too_large = False
        length = header(parser.headers, b"content-length")
        self._body_left = -1 if length is None else int(length)
        self._silent = 0
        if (header(parser.headers, b"expect") or b"").lower() == b"100-continue":
            self._pending.append(CONTINUE)

    def _read_body(self) -> bool:
        """Read on; of a body that is too large nothing is kept, and its end is waited for."""
        parser = self._parser
        before = parser.body_bytes
        fed = self._feed()
        self._silent = 0 if parser.body_bytes > before else self._silent + fed
        if self._silent > HEAD_BYTES:
            raise Unparsable("more than 1 MiB beside the body")
        if parser.body_bytes > MAX_RESPONSE_BYTES:
            self._is_too_large = True
        if self._is_too_large:
            parser.take_body()
        self._in_body = not parser.is_complete
        return parser.is_complete

    def _feed(self) -> int:
        """Give the parser what belongs to the body and return how much that was."""
        data = self._buffer
        if self._body_left < 0:
            self._buffer = self._parser.feed_chunked(data)
        else:
            piece = data[: self._body_left]
            self._parser.feed_sized(piece)
            self._body_left -= len(piece)
            self._buffer = data[len(piece) :]
        return len(data) - len(self._buffer)

    # Serving.

    def _serve(self) -> None:
        parser = self._parser
        self._is_last = not parser.keeps_alive
        if self._target == NEXT and parser.method == b"GET":
            self._poll()
            return
        posted = Posted(
            parser.headers,
            parser.take_body(),
            parser.trailers(),
            is_too_large=self._is_too_large,
        )
        self._is_too_large = False
        self._pending.append(self._answer(parser.method, posted))

    def _poll(self) -> None:
        self._waits = True
        try:
            self._platform.polled(self)
        except Refused as refused:
            self._waits = False
            self._pending.append(refusal(refused))

    def deliver(self, event: Event) -> None:
        """Answer the poll, and what was held back for it."""
        self._waits = False
        length = b"Content-Length: %d\r\n\r\n" % len(event.payload)
        pieces = (*self._pending, EVENT_HEAD, event.headers, length, event.payload)
        self._pending.clear()
        self._transport.write(b"".join(pieces))
        if self._is_last:
            self._transport.close()
        elif self._buffer:
            self.data_received(b"")

    def close(self) -> None:
        """End the connection."""
        self._is_unwanted = True
        if self._is_connected:
            self._transport.abort()

    def _answer(self, method: bytes, posted: Posted) -> bytes:
        """Return the answer to anything but a poll."""
        path = self._target.partition(b"?")[0]
        for pattern, allowed, take in self.ROUTES:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if method != allowed:
                return message(405, "Method Not Allowed", [], b"")
            try:
                return take(self, found, posted)
            except Refused as refused:
                return refusal(refused)
        return not_found()

    def _on_ping(self, _found: re.Match[bytes], _posted: Posted) -> bytes:
        return message(200, "OK", [PLAIN], b"pong")

    def _on_init_error(self, _found: re.Match[bytes], posted: Posted) -> bytes:
        self._platform.init_errored(posted)
        return accepted()

    def _on_response(self, found: re.Match[bytes], posted: Posted) -> bytes:
        self._platform.responded(unescaped(found[1]), posted)
        return accepted()

    def _on_error(self, found: re.Match[bytes], posted: Posted) -> bytes:
        if posted.header(b"content-type") == ERROR_CAUSE and not posted.is_too_large:
            posted.body = without_cause(posted.body)
        self._platform.errored(unescaped(found[1]), posted)
        return accepted()

    def _on_subscription(self, found: re.Match[bytes], _posted: Posted) -> bytes:
        """Tell an extension to do without, as AWS's engine does where it has no telemetry."""
        name = SUBSCRIPTIONS[found[0]]
        return error_message(202, f"{name}.NotSupported", f"{name} API is not supported")

    ROUTES: ClassVar[list[tuple[re.Pattern[bytes], bytes, Take]]] = [
        (re.compile(VERSION + b"runtime/invocation/([^/]+)/response"), b"POST", _on_response),
        (re.compile(VERSION + b"runtime/invocation/([^/]+)/error"), b"POST", _on_error),
        (re.compile(VERSION + b"runtime/init/error"), b"POST", _on_init_error),
        (re.compile(VERSION + b"ping"), b"GET", _on_ping),
        (re.compile(b"/2020-08-15/logs|/2022-07-01/telemetry"), b"PUT", _on_subscription),
    ]
    """What is there beside `/next`, and its one method."""


NEXT = VERSION + b"runtime/invocation/next"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PLAIN = (b"Content-Type", b"text/plain; charset=utf-8")
ERROR_CAUSE = "application/vnd.aws.lambda.error.cause+json"
SUBSCRIPTIONS = {b"/2020-08-15/logs": "Logs", b"/2022-07-01/telemetry": "Telemetry"}
EVENT_HEAD = b"HTTP/1.1 200 OK\r\n"


def unescaped(request_id: bytes) -> str:
    """Return a request id from a path; Node's client escapes it (lambda.md 1.6)."""
    return unquote_to_bytes(request_id).decode("latin-1")


def accepted() -> bytes:
    """Return the answer to what was taken."""
    return message(202, "Accepted", [(b"Content-Type", JSON)], ACCEPTED)


def not_found() -> bytes:
    """Return what AWS's engine says for an unknown path."""
    return message(404, "Not Found", [PLAIN], b"404 page not found\n")


def refusal(refused: Refused) -> bytes:
    """Return the answer to what the state does not allow."""
    return error_message(refused.status, refused.error_type, str(refused))


REASONS = {202: "Accepted", 400: "Bad Request", 403: "Forbidden", 413: "Request Entity Too Large"}


def error_message(status: int, error_type: str, text: str) -> bytes:
    """Return an error as AWS's engine words it (lambda.md 1.2)."""
    body = orjson.dumps({"errorMessage": text, "errorType": error_type})
    return message(status, REASONS.get(status, "Error"), [(b"Content-Type", JSON)], body)


class RuntimeApiServer:
    """The listening socket of one environment and its connections."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._connections: set[ApiConnection] = set()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen, before the process starts: runtimes try for one second (lambda.md 1.1)."""
        loop = asyncio.get_running_loop()
        listening = free_port(loop.time())
        host, self._port = listening.getsockname()
        self.address = f"{host}:{self._port}"
        self._server = await loop.create_server(self._accept, sock=listening, backlog=BACKLOG)

    def _accept(self) -> asyncio.Protocol:
        if len(self._connections) >= CONNECTIONS:
            return Unwelcome()
        connection = ApiConnection(self._platform, self._connections.discard)
        self._connections.add(connection)
        return connection

    def disconnect(self) -> None:
        """End the connections of a process that is gone."""
        for connection in list(self._connections):
            connection.close()

    def close(self) -> None:
        """Stop listening and end every connection; does nothing when it never listened."""
        self.disconnect()
        if self._server is not None:
            self._server.close()
            self._server = None
            RECENT_PORTS.add(self._port, asyncio.get_running_loop().time())

    async def emptied(self) -> None:
        """End connections of a process that is gone, also those that are only being accepted."""
        for _ in range(HAND_OVER_TURNS):
            await asyncio.sleep(0)  # noqa: TID251 - no time passes here
            self.disconnect()


class Unwelcome(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """End it."""
        cast("asyncio.Transport", transport).abort()


class RecentPorts:
    """The ports that were given back, oldest first; bounded."""

    def __init__(self) -> None:
        self._ports: OrderedDict[int, float] = OrderedDict()

    def add(self, port: int, now: float) -> None:
        """Remember a port that was given back now."""
        self._ports.pop(port, None)
        self._ports[port] = now
        if len(self._ports) > PORTS:
            self._ports.popitem(last=False)

    def has(self, port: int, now: float) -> bool:
        """Say whether a port was given back less than 60 s ago."""
        return now - self._ports.get(port, -PORT_SECONDS) < PORT_SECONDS


RECENT_PORTS = RecentPorts()
"""One for the process, because the machine's ports are one set for all environments."""


def free_port(now: float) -> socket.socket:
    """Return a listening socket on a loopback port that no environment had in the last 60 s.

    When there is hardly another one it takes what it gets. Raises OSError.
    """
    passed_over: list[socket.socket] = []
    try:
        while True:
            listening = bound_socket()
            port = listening.getsockname()[1]
            if len(passed_over) >= PORT_TRIES or not RECENT_PORTS.has(port, now):
                break
            passed_over.append(listening)  # held meanwhile, so that the next one is another
    finally:
        for held in passed_over:
            held.close()
    listening.listen(BACKLOG)
    return listening


def bound_socket() -> socket.socket:
    """Return a socket on a loopback port that the system chose."""
    bound = socket.socket()
    try:
        bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
        bound.bind(("127.0.0.1", 0))
    except OSError:
        bound.close()
        raise
    return bound

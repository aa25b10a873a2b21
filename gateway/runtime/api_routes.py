"""The paths of the Runtime API and what is said there (lambda.md 1.2).

What a head tells is judged by the head: requests of web pages, unknown paths, invocations that are
unknown or answered. Only the body of an answer that the environment waits for is kept.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

import orjson

from gateway.core.environment import Errored, InitErrored, Refused, Responded
from gateway.core.function_errors import without_cause
from gateway.core.http import Headers, header
from gateway.wire.h1 import message

VERSION = b"/2018-06-01/"
NEXT = VERSION + b"runtime/invocation/next"
INVOCATION = re.compile(VERSION + rb"runtime/invocation/([^/]+)/(response|error)")
INIT_ERROR = VERSION + b"runtime/init/error"
IMPORTED = VERSION + b"runtime/packages?"
"""Ours: AWS's engine has no such path. Behind it are names, separated by commas."""

NAMES_BYTES = 16 * 1024
PING = VERSION + b"ping"
SUBSCRIPTIONS = {b"/2020-08-15/logs": "Logs", b"/2022-07-01/telemetry": "Telemetry"}

JSON = (b"Content-Type", b"application/json")
PLAIN = (b"Content-Type", b"text/plain; charset=utf-8")
ERROR_CAUSE = "application/vnd.aws.lambda.error.cause+json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EVENT_HEAD = b"HTTP/1.1 200 OK\r\n"
ACCEPTED = message(202, "Accepted", [JSON], b'{"status":"OK"}\n')
NOT_FOUND = message(404, "Not Found", [PLAIN], b"404 page not found\n")
NOT_ALLOWED = message(405, "Method Not Allowed", [], b"")
PONG = message(200, "OK", [PLAIN], b"pong")
REASONS = {202: "Accepted", 400: "Bad Request", 403: "Forbidden", 413: "Request Entity Too Large"}

PAGE_HEADERS = frozenset({b"origin", b"sec-fetch-site"})
"""Browsers add them and let no page change them (Fetch standard, forbidden request-headers); no
client of the Runtime API sends one."""


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


class Poll(Protocol):
    """A runtime that waits for an event."""

    has_left_event: bool
    """Whether the connection has ended and the event is known to be unread."""

    def deliver(self, event: Event, /) -> None:
        """Answer the poll."""
        ...


AnswerKind = type[Responded] | type[Errored] | type[InitErrored]


class Answer(NamedTuple):
    """Which answer a runtime posts, as its head says."""

    kind: AnswerKind
    request_id: str = ""
    """Empty for an error of the init phase."""


class Platform(Protocol):
    """What runs the environment; its methods raise Refused."""

    def polled(self, poll: Poll, /) -> None:
        """Record that the runtime waits."""
        ...

    def check(self, answer: Answer, headers: Headers, /) -> None:
        """Refuse an answer that would be refused whatever its body holds; change nothing."""
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
        """Record that a response ended in the middle."""
        ...

    def imported(self, names: list[str], /) -> None:
        """Record packages of this machine that AWS's runtime does not have."""
        ...

    def disconnected(self, poll: Poll, /) -> None:
        """Record that no event can be delivered there any more."""
        ...


def foreign_head(headers: Headers, authority: bytes) -> str:
    """Say why a head is not that of a runtime; empty for a runtime's.

    A web page that reaches this port says so, or names the host that its author's DNS gave it.
    """
    for name, value in headers:
        lower = name.lower()
        if lower in PAGE_HEADERS:
            return f"The Runtime API takes no request with {name.decode('latin-1')}"
        if lower == b"host" and value != authority:
            return f"The Runtime API has no other host than {authority.decode()}"
    return ""


def answer_of(target: bytes) -> Answer | None:
    """Return which answer is posted to a target; None for every other path."""
    path = target.partition(b"?")[0]
    if path == INIT_ERROR:
        return Answer(InitErrored)
    found = INVOCATION.fullmatch(path)
    if found is None:
        return None
    return Answer(Responded if found[2] == b"response" else Errored, unescaped(found[1]))


def unescaped(request_id: bytes) -> str:
    """Return a request id from a path; Node's client escapes it (lambda.md 1.6)."""
    return unquote_to_bytes(request_id).decode("latin-1")


def imported_names(target: bytes) -> list[str]:
    """Return the names of modules that our own bootstrap posts, and nothing else that is there."""
    if not target.startswith(IMPORTED):
        return []
    names = target[len(IMPORTED) : NAMES_BYTES].decode("latin-1").split(",")
    return [name for name in names if name.isascii() and name.isidentifier()]


def said_at_once(target: bytes, method: bytes) -> bytes:
    """Return the answer to a request that is neither a poll nor an answer."""
    path = target.partition(b"?")[0]
    if path == PING:
        return PONG if method == b"GET" else NOT_ALLOWED
    if target.startswith(IMPORTED):
        return ACCEPTED if method == b"POST" else NOT_ALLOWED
    name = SUBSCRIPTIONS.get(path)
    if name is None:
        return NOT_FOUND
    if method != b"PUT":
        return NOT_ALLOWED
    # An extension is told to do without, as AWS's engine tells where it has no telemetry.
    return error_message(202, f"{name}.NotSupported", f"{name} API is not supported")


def taken(platform: Platform, answer: Answer, posted: Posted) -> bytes:
    """Give an answer to the platform and return what the runtime is told."""
    try:
        TAKE[answer.kind](platform, answer.request_id, posted)
    except Refused as refused:
        return refusal(refused)
    return ACCEPTED


def _take_response(platform: Platform, request_id: str, posted: Posted) -> None:
    platform.responded(request_id, posted)


def _take_error(platform: Platform, request_id: str, posted: Posted) -> None:
    if posted.header(b"content-type") == ERROR_CAUSE and not posted.is_too_large:
        posted.body = without_cause(posted.body)
    platform.errored(request_id, posted)


def _take_init_error(platform: Platform, _request_id: str, posted: Posted) -> None:
    platform.init_errored(posted)


TAKE: dict[AnswerKind, Callable[[Platform, str, Posted], None]] = {
    Responded: _take_response,
    Errored: _take_error,
    InitErrored: _take_init_error,
}


def refusal(refused: Refused) -> bytes:
    """Return the answer to what the state does not allow."""
    return error_message(refused.status, refused.error_type, str(refused))


def error_message(status: int, error_type: str, text: str) -> bytes:
    """Return an error as AWS's engine words it (lambda.md 1.2)."""
    body = orjson.dumps({"errorMessage": text, "errorType": error_type})
    return message(status, REASONS.get(status, "Error"), [JSON], body)

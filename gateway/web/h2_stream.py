"""One request of an HTTP/2 connection and what has been answered to it."""

from dataclasses import replace
from enum import Enum, auto

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.http import Headers, HttpRequest, HttpResponse, header, wire_headers
from gateway.core.limits import Phase, Progress
from gateway.core.turns import Claim

CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
"""Never sent over HTTP/2 (RFC 9113 section 8.2.2)."""

FIELD_BYTES = 128
"""What a header field takes in memory beside its bytes: two objects, their pair, its place."""


def held_bytes(head_bytes: int, fields: int) -> int:
    """Return what a head of this size takes in memory."""
    return head_bytes + FIELD_BYTES * fields


class StreamState(Enum):
    """How far a stream is."""

    BODY = auto()
    WAITING = auto()
    """For its turn to run."""
    RUNNING = auto()
    WRITING = auto()
    ANSWERED = auto()
    """Before its end: what still comes is dropped."""
    OVER = auto()
    """Reset, or its connection is lost, while the invocation runs on."""


class Stream:
    """Collects a request's body, then holds what is left to write of its response."""

    __slots__ = (
        "body",
        "claim",
        "dropped",
        "has_ended",
        "moved_at",
        "progress",
        "request",
        "response",
        "sent_bytes",
        "step",
        "stream_id",
        "unsent",
        "unsent_bytes",
    )

    request: HttpRequest
    response: HttpResponse
    progress: Progress

    def __init__(
        self, stream_id: int, request: HttpRequest, claim: Claim, *, has_ended: bool
    ) -> None:
        self.stream_id = stream_id
        self.claim = claim
        self.request = request
        self.has_ended = has_ended
        self.step = StreamState.WAITING
        self.body = b"" if has_ended else bytearray()
        self.unsent: bytes | memoryview = b""
        self.unsent_bytes = self.dropped = 0
        self.sent_bytes = 0
        self.moved_at = 0.0

    def expect_body(self, now: float) -> None:
        """Get ready for the body."""
        self.step = StreamState.BODY
        self.progress = Progress(Phase.BODY, now, now, now)

    def add(self, data: bytes, now: float) -> bool:
        """Take a piece of the body; says whether it is still within its limit."""
        self.body += data
        self.progress.active_at = now
        self.progress.body_bytes = len(self.body)
        return len(self.body) <= REQUEST_BODY_LIMIT

    def wait_for_room(self, now: float) -> None:
        """Let no time count while the body may not come."""
        self.progress.began_at = self.progress.active_at = now

    def end_body(self) -> None:
        """Complete the request."""
        self.has_ended = True
        self.request.body = bytes(self.body)
        self.request.received_bytes += len(self.body)
        self.body = b""
        self.step = StreamState.WAITING

    def declared(self) -> int:
        """Return the length that the client says its body has, 0 where it says nothing."""
        value = header(self.request.headers, b"content-length")
        # int() takes no more than 4300 digits, and zeros may lead.
        return int(value.lstrip(b"0") or b"0") if value else 0

    def answer(self, response: HttpResponse, date: bytes) -> Headers:
        """Take the response and return the headers to send: names in lower case, values without
        the white space around them that HTTP/2 forbids (RFC 9113 section 8.2.1).
        """
        self.step = StreamState.WRITING
        self.response = response
        self.body = b""
        if self.request.body:
            self.request = replace(self.request, body=b"")
        self.unsent, response.body = memoryview(response.body), b""  # it was made for this request
        self.unsent_bytes = len(self.unsent)
        pairs = [
            (name.lower(), value.strip(b" \t"))
            for name, value in wire_headers(response, date=date, connection=None)
        ]
        headers = [pair for pair in pairs if pair[0] not in CONNECTION_SPECIFIC]
        self.sent_bytes = sum([len(name) + len(value) + 4 for name, value in headers])
        return headers

    def advance(self, size: int) -> int:
        """Count out bytes that were sent; returns how many are held no longer.

        A part of a body holds all of it, so the rest is copied whenever half of it was sent.
        """
        self.sent_bytes += size
        self.unsent = self.unsent[size:]
        left = len(self.unsent)
        if 2 * left > self.unsent_bytes:
            return 0
        freed, self.unsent_bytes = self.unsent_bytes - left, left
        self.unsent = memoryview(bytes(self.unsent))
        return freed

    def end(self) -> None:
        """Hold nothing more: the response is written and noted."""
        self.step = StreamState.ANSWERED
        self.unsent = b""
        del self.request, self.response

"""Sizes, rates and times that a listener allows, and which of them a connection has broken.

ALB publishes some of these (alb.md 1.10, 4.1); the others are ours, because a server that faces
strangers needs them and ALB does not say what it does (reliability.md 2.6).
"""

from dataclasses import dataclass, fields, replace
from enum import Enum, IntEnum, auto
from typing import Literal

from gateway.core.errors import InvalidSetting
from gateway.core.room import ROOM_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """One listener's limits; set with `--limit NAME=VALUE`, two of them as attributes."""

    line_bytes: int = 16 * 1024
    """The request line and each header line, with its CRLF: 414 for the first, 400 for a header."""
    head_bytes: int = 64 * 1024
    """The whole head: 400."""
    header_fields: int = 200
    """The header fields of a request, and the trailers of a chunked body: 400. Ours."""
    pipelined_bytes: int = 64 * 1024
    """What is kept of further requests while one is answered; then reading pauses."""
    idle_seconds: float = 60.0
    """`idle_timeout.timeout_seconds`: silence between requests closes, within one gives 408."""
    keep_alive_seconds: float = 3600.0
    """`client_keep_alive.seconds`: after this age one more request is served."""
    head_seconds: float = 20.0
    """From a head's first byte to its last: 408. Ours."""
    handshake_seconds: float = 10.0
    """From the connection to the end of the TLS handshake; the connection counts. Ours."""
    body_grace_seconds: float = 10.0
    """How long a body may come at any speed. Ours."""
    body_bytes_per_second: float = 1024.0
    """The least average speed of a body after its grace: 408. Ours."""
    stalled_write_seconds: float = 60.0
    """A client that takes nothing of its response for this long is cut off. Ours."""
    linger_seconds: float = 30.0
    """How long a refused client may send at any speed and is not cut off; nginx's lingering_time.
    Ours."""
    linger_bytes_per_second: float = 64 * 1024
    """The least average speed of what it sends after that. Ours."""
    linger_bytes: int = 1024 * 1024 * 1024
    """How much of it is read and dropped. Ours."""
    linger_silence_seconds: float = 10.0
    """How long it may send nothing; nginx's lingering_timeout is 5 seconds. Ours."""
    lingering: int = 1_000
    """Connections that linger so at one time; more linger for BRIEF_LINGER_SECONDS. Ours."""
    lingering_per_address: int = 20
    """Those of one client address. Ours."""
    connections: int = 10_000
    """Connections in all; more are closed at once. Ours."""
    connections_per_address: int = 1_000
    """Connections of one client address. Ours."""
    room_bytes: int = ROOM_BYTES
    """What the requests of all clients that are incomplete, and the responses that they do not
    take, may hold in memory. Ours."""
    room_seconds: float = 30.0
    """How long a body waits for room: 503. Ours."""
    calmed_connections: int = 10
    """Connections of one client address that end with ENHANCE_YOUR_CALM. Ours."""
    calmed_seconds: float = 10.0
    """As many of them in this time, and the address is refused. Ours."""
    refused_seconds: float = 30.0
    """How long new connections of such an address are closed at once. Ours."""
    drain_seconds: float = 25.0
    """How long a stop waits for requests in flight, and a worker that is replaced for idle
    connections too. Ours."""


CHUNKED_OVERHEAD_FACTOR = 1.5
CHUNKED_OVERHEAD_BYTES = 64 * 1024
"""A chunked body's raw bytes may be 1.5 times the decoded ones and 64 KB: bounds extensions and
trailers."""

CHUNKED_STEP = 16 * 1024
"""How often that is looked at while a chunked body comes, and once more at its end."""

LEAST_FIELD_BYTES = len(b"a:\n")
"""The least that a header field takes on the wire."""

FIELDS_STEP = 1024
"""How often the fields of a head that comes in pieces are counted."""

UPLOAD_SECONDS = 2.0
UPLOAD_BYTES = 2 * 1024 * 1024
"""How long, and how much, an HTTP/2 stream may send on after it was answered; its client reads at
the same time."""

BRIEF_LINGER_SECONDS = 2.0
"""How long connections above `lingering` or `lingering_per_address` linger, and those whose last
request was read to its end."""

STOP_PAUSE_SECONDS = 2.0
"""How long a client may send nothing of a body when the gateway stops: 503. Ours."""

SWEEP_SECONDS = 0.25
"""How often deadlines are looked at; a limit is enforced at most this late."""


UNLIMITED = 10**12
"""No limit may be as large as this; infinity and not-a-number are not limits."""

ATTRIBUTES = {
    "idle_seconds": "idle_timeout.timeout_seconds",
    "keep_alive_seconds": "client_keep_alive.seconds",
}
"""Limits that ALB has attributes for."""


class Phase(IntEnum):
    """How far a connection is with a request; integers are hashed fast (http1_states.py)."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    RUNNING = auto()
    WRITING = auto()
    LINGERING = auto()


class Overdue(Enum):
    """What to do with a connection that is past a deadline."""

    CLOSE = auto()
    TIME_OUT = auto()
    """Answer 408 and close."""
    ABORT = auto()


@dataclass(slots=True)
class Progress:
    """The times and counts of one connection that deadlines look at; seconds of a monotonic
    clock."""

    phase: Phase = Phase.IDLE
    opened_at: float = 0.0
    active_at: float = 0.0
    """When the last byte came, or the last response was written."""
    began_at: float = 0.0
    """When the head, the body, or the linger began."""
    body_bytes: int = 0
    """Raw bytes of the body so far, or of what came in the linger."""
    is_brief: bool = False
    """The linger is a brief one."""
    stalled_at: float | None = None
    """Since when the client has taken nothing of what waits to be written."""


def overdue(progress: Progress, limits: Limits, now: float) -> Overdue | None:
    """Return what a connection's broken deadline asks for, or None."""
    if (
        progress.stalled_at is not None
        and now - progress.stalled_at >= limits.stalled_write_seconds
    ):
        return Overdue.ABORT
    silence = now - progress.active_at
    match progress.phase:
        case Phase.IDLE:
            # It is idle after the one more request that ALB serves, or it sends empty lines.
            is_old = now - progress.opened_at >= limits.keep_alive_seconds + limits.idle_seconds
            return Overdue.CLOSE if is_old or silence >= limits.idle_seconds else None
        case Phase.HEAD:
            is_late = now - progress.began_at >= limits.head_seconds
            return Overdue.TIME_OUT if is_late or silence >= limits.idle_seconds else None
        case Phase.BODY:
            is_late = is_too_slow(progress, limits, now)
            return Overdue.TIME_OUT if is_late or silence >= limits.idle_seconds else None
        case Phase.LINGERING if progress.stalled_at is None:
            return Overdue.ABORT if has_lingered(progress, limits, now) else None
        case _:
            return None


def is_too_slow(progress: Progress, limits: Limits, now: float) -> bool:
    """Say whether a body comes slower than it must after its grace."""
    seconds = now - progress.began_at - limits.body_grace_seconds
    return seconds > 0 and progress.body_bytes < seconds * limits.body_bytes_per_second


def has_lingered(progress: Progress, limits: Limits, now: float) -> bool:
    """Say whether a refused client has had its time: it is silent, too slow, or one of too many."""
    seconds = now - progress.began_at
    if progress.is_brief and seconds >= BRIEF_LINGER_SECONDS:
        return True
    if now - progress.active_at >= limits.linger_silence_seconds:
        return True
    seconds -= limits.linger_seconds
    return seconds > 0 and progress.body_bytes < seconds * limits.linger_bytes_per_second


def pauses(progress: Progress, now: float) -> bool:
    """Say whether nothing of a body has come for longer than a stop waits."""
    return progress.phase is Phase.BODY and now - progress.active_at >= STOP_PAUSE_SECONDS


def is_inflated(raw: int, decoded: int) -> bool:
    """Say whether a chunked body has more around it than its data justifies."""
    return raw > CHUNKED_OVERHEAD_FACTOR * decoded + CHUNKED_OVERHEAD_BYTES


def broken_size(
    lines: bytes | bytearray, size: int, limits: Limits, *, is_first: bool
) -> Literal[0, 400, 414]:
    """Return the status for lines of a head of this size that break a limit, or 0.

    `is_first` says that the lines begin with the request line. A line without LF must get one.
    """
    sizes = [len(line) + 1 for line in lines.lstrip(b"\r\n").split(b"\n")]
    if is_first and sizes[0] > limits.line_bytes:
        return 414
    return 400 if max(sizes) > limits.line_bytes or size > limits.head_bytes else 0


def has_too_many_fields(head: bytes | bytearray, limits: Limits) -> bool:
    """Say whether a head, or the beginning of one, has more header fields than are allowed.

    A field has three bytes at least, so the size decides for most heads. The request line and the
    empty line are not fields; of empty lines before the request line one may have been kept.
    """
    most = limits.header_fields
    if len(head) <= LEAST_FIELD_BYTES * most:
        return False
    return head.count(b"\n") - head.startswith((b"\n", b"\r\n")) - 2 > most


def limit_names() -> list[str]:
    """Return the limits that `--limit` takes, sorted."""
    return sorted({field.name for field in fields(Limits)} - ATTRIBUTES.keys())


def with_limit(limits: Limits, setting: str) -> Limits:
    """Return the limits with one `NAME=VALUE` applied; raises InvalidSetting."""
    name, _, text = setting.partition("=")
    if name in ATTRIBUTES:
        raise InvalidSetting(f"{name} is an attribute of ALB's: --attribute {ATTRIBUTES[name]}")
    if name not in limit_names():
        raise InvalidSetting(f"unknown limit {name!r}; known are: {', '.join(limit_names())}")
    number = type(getattr(limits, name))
    try:
        value = number(text)
    except ValueError as error:
        kind = "a whole number" if number is int else "a number"
        raise InvalidSetting(f"limit {name} is {text!r} but must be {kind}") from error
    if not 0 < value < UNLIMITED:
        raise InvalidSetting(f"limit {name} is {text} but must be above 0 and below 10^12")
    return replace(limits, **{name: value})

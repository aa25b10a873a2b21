"""What one HTTP/2 client may make a server do for nothing, counted; and what may be held for it.

HTTP/2 has many frames that cost the server work and bring no request further, and RFC 9113 section
10.5 leaves it to the server to count them. Two buckets that leak with time do: one for frames
without progress, which progress also empties, and one for streams that end in a reset. What a
bucket forgives is harmless however long it lasts; what overflows it is a flood, and the connection
ends.
"""

from typing import Protocol

from gateway.core.errors import InvalidSetting

DATA, HEADERS, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x8, 0x9
"""Frame types (RFC 9113 section 6)."""

END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
"""Flags of DATA and HEADERS, of HEADERS and CONTINUATION, and of DATA and HEADERS."""

CONCURRENT_STREAMS = 128
"""ALB's figure (alb.md 1.10). Invocations of streams that were reset count until they end."""

STREAMS = 4_096
"""The parser ends a connection at its next stream, with an error and whatever is open."""

REQUESTS = 3_900
"""Requests of one connection, resets added, before GOAWAY. ALB's figure is 10,000 (alb.md 1.10)."""

REQUESTS_AT_MOST = STREAMS - CONCURRENT_STREAMS
"""Requests, resets added, after which GOAWAY waits no longer for a moment without streams. A full
set of streams may be on its way before a client reads it, and must not reach the parser's end."""

RESETS = 200
"""Resets of one connection before GOAWAY; the parser ends it at its 257th."""

GOAWAY_SECONDS = 1.0
"""How long GOAWAY waits for a moment without streams, and how long after it a connection without
streams stays open, for what is on its way."""

CALM_SECONDS = 1.0
"""How long a connection that is ended for a flood may take its GOAWAY before it is cut off."""

IDLE_FRAMES = 1_000
IDLE_FRAMES_PER_SECOND = 200.0
"""Frames without progress: so many at once, and so many a second for ever."""

TINY_BYTES = 256
"""A DATA frame of less brings no progress unless it is the last of its stream."""

PADDING_BYTES = 256
"""So much of a padded frame may be padding and its length (RFC 9113 section 6.1)."""

PROGRESS_BYTES = 1024
"""So much of a response that was sent pays for one frame, usually a WINDOW_UPDATE."""

REQUEST_FRAMES = 4
"""A request pays for so many frames."""

QUICK_RESETS = 128
RESETS_PER_SECOND = 10.0
"""Resets: a set of streams cancelled at once, and so many a second for ever."""

HELD_BYTES = 24 * 1024 * 1024
"""Of one connection's request bodies that are not complete and responses that were not taken: 24 of
the largest responses at once, which leaves a flood within 32 MB (reliability.md P13)."""

HELD_BYTES_IN_ALL = 128 * 1024 * 1024
"""Of all HTTP/2 connections together."""

Frame = tuple[int, int, int]
"""Type, flags and payload size."""


class Bucket:
    """Fills with what happens and leaks with time; it overflows over its capacity."""

    __slots__ = ("_at", "_capacity", "_level", "_per_second")

    def __init__(self, capacity: float, per_second: float, now: float) -> None:
        if capacity <= 0 or per_second <= 0:
            raise InvalidSetting("a bucket holds and leaks something")
        self._capacity = capacity
        self._per_second = per_second
        self._level = 0.0
        self._at = now

    def is_over(self, amount: float, now: float) -> bool:
        """Pour in so much, below 0 to take out; says whether the bucket overflows."""
        leaked = self._level - (now - self._at) * self._per_second
        self._at = now
        self._level = max(0.0, max(0.0, leaked) + amount)
        return self._level > self._capacity


class Floods:
    """The two buckets of one connection; seconds of a monotonic clock."""

    __slots__ = ("_idle", "_quick", "resets")

    def __init__(self, now: float) -> None:
        self._idle = Bucket(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, now)
        self._quick = Bucket(QUICK_RESETS, RESETS_PER_SECOND, now)
        self.resets = 0
        """Resets of either side so far."""

    def is_idle_flood(self, frames: list[Frame], now: float) -> bool:
        """Count frames that came; says whether too many of them brought no progress."""
        return self._idle.is_over(sum([cost(*frame) for frame in frames]), now)

    def pay(self, size: int, now: float) -> None:
        """Count bytes of responses that the client let us send."""
        self._idle.is_over(-size / PROGRESS_BYTES, now)

    def is_reset_flood(self, now: float) -> bool:
        """Count a reset of either side; says whether there are too many of them."""
        self.resets += 1
        return self._quick.is_over(1, now)


def cost(kind: int, flags: int, size: int) -> int:
    """Return what a frame costs; below 0 for one that pays for others."""
    if kind == HEADERS:
        return -REQUEST_FRAMES
    least = TINY_BYTES + PADDING_BYTES if flags & PADDED else TINY_BYTES
    if kind == DATA and (flags & END_STREAM or size >= least):
        return 0
    return 1


class Holder(Protocol):
    """A connection for which bytes are held."""

    @property
    def held_bytes(self) -> int:
        """Return how many."""
        ...

    def evict(self) -> None:
        """End the connection and let go of all of them at once."""
        ...


class Held:
    """Bytes held for all HTTP/2 connections of a front, and for whom."""

    __slots__ = ("holders", "total")

    def __init__(self) -> None:
        self.total = 0
        self.holders: set[Holder] = set()

    def has_room(self, own: int, size: int) -> bool:
        """Say whether so much more may be held for a connection that holds `own` bytes."""
        return own + size <= HELD_BYTES and self.total + size <= HELD_BYTES_IN_ALL

    def hog(self, own: int, size: int) -> Holder | None:
        """Return whom to evict for so much more, where all together leave no room: the connection
        that holds most, unless it holds no more than the one that asks then would.

        What it holds is more than was asked for, so one eviction is enough.
        """
        if own + size > HELD_BYTES:
            return None
        most = max(self.holders, key=lambda holder: holder.held_bytes, default=None)
        return most if most is not None and most.held_bytes > own + size else None

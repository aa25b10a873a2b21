"""How an HTTP/2 connection ends without losing a request: GOAWAY in two steps.

RFC 9113 section 6.8: the first GOAWAY names the highest stream there can be, so that what is on its
way is still answered while the client learns of the end; the second names the last stream that is
answered. A client that opens connections again then loses nothing.
"""

from enum import IntEnum

from gateway.core.floods import CONCURRENT_STREAMS, STREAMS, STREAMS_RESET

ANY_STREAM = 2**31 - 1
"""The last stream that the first GOAWAY names."""

REQUESTS_AT_MOST = STREAMS - CONCURRENT_STREAMS
"""Requests, resets added, after which the last stream is named: a full set of streams may be on its
way before a client reads it, and must not reach the parser's end."""

REQUESTS = REQUESTS_AT_MOST - CONCURRENT_STREAMS
"""Requests of one connection, resets added, before the first GOAWAY. ALB's figure is 10,000
(alb.md 1.10)."""

RESETS_AT_MOST = STREAMS_RESET - CONCURRENT_STREAMS
"""Resets after which the last stream is named: what is open then may be reset too."""

RESETS = 96
"""Resets of one connection before the first GOAWAY."""

QUIET_SECONDS = 5.0
"""How long a connection that was told the first GOAWAY has no stream before the last one is
named."""

CLOSE_SECONDS = 1.0
"""How long a connection without streams stays open after the second, for what is on its way: it
would turn the close into a reset, GOAWAY unread."""


class Stage(IntEnum):
    """How far a connection is from its end."""

    OPEN = 0
    ANNOUNCED = 1
    """The first GOAWAY was sent; requests are still answered."""
    LEAVING = 2
    """The last stream is named; what comes behind it is refused."""
    CLOSING = 3


class Ending:
    """The stage of one connection, and what it has used of its parser; seconds of a monotonic
    clock."""

    __slots__ = ("_left_at", "requests", "resets", "stage")

    def __init__(self) -> None:
        self.stage = Stage.OPEN
        self.requests = self.resets = 0
        self._left_at = 0.0

    def enter(self, stage: Stage, now: float) -> bool:
        """Go on to a stage; says whether the connection was not there yet."""
        if self.stage >= stage:
            return False
        self.stage = stage
        self._left_at = now
        return True

    def due(self) -> Stage:
        """Return the stage that the connection must have reached for what it has used."""
        used = self.requests + self.resets
        if used >= REQUESTS_AT_MOST or self.resets >= RESETS_AT_MOST:
            return Stage.LEAVING
        if used >= REQUESTS or self.resets >= RESETS:
            return Stage.ANNOUNCED
        return Stage.OPEN

    def due_without_streams(self, quiet_seconds: float, now: float) -> Stage:
        """Return the same for a connection that has had no stream for these seconds."""
        if self.stage is Stage.ANNOUNCED and quiet_seconds >= QUIET_SECONDS:
            return Stage.LEAVING
        if self.stage is Stage.LEAVING and now - self._left_at >= CLOSE_SECONDS:
            return Stage.CLOSING
        return self.stage

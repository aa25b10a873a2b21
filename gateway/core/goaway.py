"""How an HTTP/2 connection ends without losing a request: GOAWAY in two steps.

RFC 9113 section 6.8: the first GOAWAY names the highest stream there can be, so that what is on its
way is still answered while the client learns of the end; the second names the last stream that is
answered. A client that opens connections again then loses nothing.
"""

from enum import IntEnum

QUIET_SECONDS = 5.0
"""How long a connection that was told the first GOAWAY has no stream before the last one is
named."""

LAST_SECONDS = 60.0
"""After the first GOAWAY the last stream is named, streams or not: a client that still sends
requests ignores it."""

CLOSE_SECONDS = 1.0
"""How long a connection without streams stays open after the second, for what is on its way: it
would turn the close into a reset, GOAWAY unread."""


class EndingStage(IntEnum):
    """How far a connection is from its end."""

    OPEN = 0
    ANNOUNCED = 1
    """The first GOAWAY was sent; requests are still answered."""
    LEAVING = 2
    """The last stream is named; what comes behind it is dropped."""
    CLOSING = 3


class Ending:
    """The stage of one connection; seconds of a monotonic clock."""

    __slots__ = ("_entered_at", "stage")

    def __init__(self) -> None:
        self.stage = EndingStage.OPEN
        self._entered_at = 0.0

    def enter(self, stage: EndingStage, now: float) -> bool:
        """Go on to a stage; says whether the connection was not there yet."""
        if self.stage >= stage:
            return False
        self.stage = stage
        self._entered_at = now
        return True

    def due(self, now: float) -> EndingStage:
        """Return the stage that the connection must have reached whatever it does."""
        is_late = self.stage is EndingStage.ANNOUNCED and now - self._entered_at >= LAST_SECONDS
        return EndingStage.LEAVING if is_late else self.stage

    def due_without_streams(self, quiet_seconds: float, now: float) -> EndingStage:
        """Return the same for a connection that has had no stream for these seconds."""
        if self.stage is EndingStage.ANNOUNCED and quiet_seconds >= QUIET_SECONDS:
            return EndingStage.LEAVING
        if self.stage is EndingStage.LEAVING and now - self._entered_at >= CLOSE_SECONDS:
            return EndingStage.CLOSING
        return self.stage

"""What one HTTP/2 client may make a server do for nothing, counted.

HTTP/2 has many frames that cost the server work and bring no request further, and RFC 9113 section
10.5 leaves it to the server to count them. Two buckets that leak with time do: one for frames
without progress, which progress also empties, and one for streams that end in a reset. What a
bucket forgives is harmless however long it lasts; what overflows it is a flood, and the connection
ends.
"""

from collections import deque

from gateway.core.errors import InvalidSetting
from gateway.core.limits import Limits

DATA, HEADERS, CONTINUATION = 0x0, 0x1, 0x9
"""Frame types (RFC 9113 section 6)."""

END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
"""Flags of DATA and HEADERS, of HEADERS and CONTINUATION, and of DATA and HEADERS."""

CONCURRENT_STREAMS = 128
"""ALB's figure (alb.md 1.10). Invocations of streams that were reset count until they end."""

CALM_SECONDS = 1.0
"""How long a connection that is ended for a flood may take its GOAWAY before it is cut off."""

IDLE_FRAMES = 1_000
IDLE_FRAMES_PER_SECOND = 200.0
"""Frames without progress: the burst, and the rate that a connection may keep up."""

TINY_BYTES = 256
"""A DATA frame of less brings no progress unless it is the last of its stream."""

PADDING_BYTES = 256
"""Padding and its length may take this much of a padded frame (RFC 9113 section 6.1)."""

PROGRESS_BYTES = 1024
"""This much of a response that was sent pays for one frame, usually a WINDOW_UPDATE."""

REQUEST_FRAMES = 4
"""A request pays for this many frames beside its head."""

QUICK_RESETS = 128
RESETS_PER_SECOND = 10.0
"""Resets: a set of streams cancelled at once, and the rate that a connection may keep up."""

FIELDS_PER_FRAME = 2
"""Of a head with too many fields, this many cost what a frame without progress costs."""

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
        """Pour in this amount, below 0 to take out; says whether the bucket overflows."""
        leaked = self._level - (now - self._at) * self._per_second
        self._at = now
        self._level = max(0.0, max(0.0, leaked) + amount)
        return self._level > self._capacity


class Floods:
    """The two buckets of one connection; seconds of a monotonic clock."""

    __slots__ = ("_idle", "_quick")

    def __init__(self, now: float) -> None:
        self._idle = Bucket(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, now)
        self._quick = Bucket(QUICK_RESETS, RESETS_PER_SECOND, now)

    def is_idle_flood(self, frames: list[Frame], now: float) -> bool:
        """Count frames that came; says whether too many of them brought no progress."""
        return self._idle.is_over(sum([cost(*frame) for frame in frames]), now)

    def pay_requests(self, count: int, now: float) -> None:
        """Count heads that were requests: a head that the parser refuses or drops pays nothing."""
        self._idle.is_over(-count * (REQUEST_FRAMES + 1), now)

    def is_field_flood(self, fields: int, now: float) -> bool:
        """Count a head that is refused for its fields; says whether there are too many of them."""
        return self._idle.is_over(fields / FIELDS_PER_FRAME, now)

    def pay(self, size: int, now: float) -> None:
        """Count bytes of responses that the client let us send."""
        self._idle.is_over(-size / PROGRESS_BYTES, now)

    def is_reset_flood(self, now: float) -> bool:
        """Count a reset of either side; says whether there are too many of them."""
        return self._quick.is_over(1, now)


def cost(kind: int, flags: int, size: int) -> int:
    """Return what a frame costs."""
    least = TINY_BYTES + PADDING_BYTES if flags & PADDED else TINY_BYTES
    if kind == DATA and (flags & END_STREAM or size >= least):
        return 0
    return 1


class Calmed:
    """Counts, per client address, connections that were ended for a flood; an address with too many
    of them is refused for a while."""

    __slots__ = ("_ended_at", "_limits", "_refused_until")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ended_at: dict[str, deque[float]] = {}
        self._refused_until: dict[str, float] = {}

    def count(self, address: str, now: float) -> None:
        """Count a connection that was told ENHANCE_YOUR_CALM."""
        limits = self._limits
        ended_at = self._ended_at.setdefault(address, deque(maxlen=limits.calmed_connections))
        ended_at.append(now)
        is_full = len(ended_at) == limits.calmed_connections
        if is_full and now - ended_at[0] <= limits.calmed_seconds:
            self._refused_until[address] = now + limits.refused_seconds

    def is_refused(self, address: str, now: float) -> bool:
        """Say whether a new connection of this address is refused."""
        return now < self._refused_until.get(address, 0.0)

    def forget(self, now: float) -> None:
        """Forget what is too old to count."""
        seconds = self._limits.calmed_seconds
        self._ended_at = {
            at: times for at, times in self._ended_at.items() if now - times[-1] <= seconds
        }
        self._refused_until = {at: end for at, end in self._refused_until.items() if now < end}

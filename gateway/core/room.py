"""Which HTTP/2 stream may run, which waits, and which connection is closed for what it holds.

Memory is counted when it is promised and not when it is written: a stream reserves room for its
reply before it is run, as much as replies have needed lately, and waits where there is not enough.
Connections have shares, so that those that take nothing leave room for the others; a connection
with nothing under way always gets one stream. Turns go round the connections. Replies that are
larger than what was reserved close the connection that holds most.
"""

from collections import Counter, deque
from collections.abc import Callable

MEGABYTE = 1024 * 1024

ROOM_BYTES = 32 * MEGABYTE
"""What all HTTP/2 connections together may hold or have reserved. Ours, as all of these."""

CONNECTION_BYTES = ROOM_BYTES // 8
ADDRESS_BYTES = ROOM_BYTES // 4
"""The shares of one connection and of one client address."""

UPLOAD_PART = 2
"""Request bodies get one half of each share, so that slow uploads do not stop other requests."""

OVERFLOW_BYTES = 48 * MEGABYTE
"""With more than this the largest holder is closed: replies may be larger than what was reserved,
and bodies come before they are granted room."""

FIRST_NEED_BYTES = MEGABYTE
"""What a reply needs before any has come: the largest (alb.md 1.10)."""

LEAST_NEED_BYTES = 16 * 1024
"""What a stream costs whatever its reply."""

NEED_SECONDS = 10.0
"""A new connection's replies are expected to need what the largest one of all connections needed
in a time between this and twice this."""

NEED_FALLS_BY = 8
"""With its own replies a connection's need rises to a larger one at once; a smaller one lowers it
by this part of the difference."""

TURN_SECONDS = 1.0
"""How long a stream waits for its turn among running invocations; then it is run, and a function
that is at its concurrency throttles it, as Lambda does."""


class Share:
    """What one connection holds."""

    __slots__ = ("active", "address", "evict", "loose", "need", "reserved", "waiting")

    def __init__(self, address: str, evict: Callable[[], None]) -> None:
        self.address = address
        self.evict = evict
        """Close the connection and forget its claims."""
        self.reserved = self.loose = 0
        """Bytes of claims with room; bytes of request bodies without, and of all heads."""
        self.active = self.waiting = 0
        """Claims that have room, and claims that wait for it."""
        self.need = 0
        """What a reply needs, from the connection's own; 0 before the first."""

    @property
    def held_bytes(self) -> int:
        """Return what is held, or reserved, for the connection."""
        return self.reserved + self.loose


class Claim:
    """What one stream asks for: room for its body, a turn to run, room for its reply."""

    __slots__ = (
        "asked_at",
        "go_on",
        "has_room",
        "heads",
        "is_running",
        "loose",
        "queue",
        "reserved",
        "share",
        "size",
    )

    def __init__(self, share: Share) -> None:
        self.share = share
        self.go_on: Callable[[], None] = do_nothing
        """What to do when its turn has come."""
        self.reserved = self.loose = self.heads = self.size = 0
        self.has_room = self.is_running = False
        self.asked_at = 0.0
        self.queue: Turns | None = None

    def take_go_on(self) -> Callable[[], None]:
        """Return what to do and keep no reference: it would be a cycle, and hold what the stream
        holds until the collector looks."""
        go_on, self.go_on = self.go_on, do_nothing
        return go_on


def do_nothing() -> None:
    """Do nothing."""


class Turns:
    """Claims that wait: connections take turns, and the claims of a connection keep their order."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Share, deque[Claim]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, claim: Claim) -> None:
        """Let a claim wait."""
        claim.queue = self
        claim.share.waiting += 1
        self._waiting.setdefault(claim.share, deque()).append(claim)

    def remove(self, claim: Claim) -> None:
        """Let a claim wait no longer."""
        waiting = self._waiting[claim.share]
        waiting.remove(claim)
        self._end(claim)
        if not waiting:
            del self._waiting[claim.share]

    def take(self, may: Callable[[Claim], bool]) -> Claim | None:
        """Return the next claim that may go on; its connection is then the last in the round."""
        for share, waiting in self._waiting.items():
            if may(waiting[0]):
                claim = waiting.popleft()
                self._end(claim)
                del self._waiting[share]
                if waiting:
                    self._waiting[share] = waiting
                return claim
        return None

    def _end(self, claim: Claim) -> None:
        claim.queue = None
        claim.share.waiting -= 1


class Room:
    """Counts what is held and reserved, and decides."""

    __slots__ = (
        "_addresses",
        "_at_once",
        "_largest",
        "_largest_before",
        "_largest_since",
        "_runs",
        "_uploads",
        "lost",
        "running",
        "shares",
        "total",
    )

    def __init__(self, at_once: int) -> None:
        """Take how many invocations may run at once, the function's concurrency."""
        self._at_once = max(1, at_once)
        self._runs, self._uploads = Turns(), Turns()
        self._addresses: Counter[str] = Counter()
        self.shares: set[Share] = set()
        self.total = self.lost = self.running = 0
        """Bytes held or reserved, those of streams that were reset while they ran among them; and
        how many streams run."""
        self._largest_before, self._largest = FIRST_NEED_BYTES, 0
        self._largest_since = 0.0

    @property
    def is_waited_for(self) -> bool:
        """Say whether a claim waits."""
        return bool(self._runs or self._uploads)

    def is_scarce_for_others(self, share: Share) -> bool:
        """Say whether a connection holds much while others wait and most of the room is used."""
        return (
            self.is_waited_for
            and self.total > ROOM_BYTES // 2
            and share.held_bytes > CONNECTION_BYTES // 2
        )

    # What a stream asks for.

    def ask(self, claim: Claim, go_on: Callable[[], None], now: float) -> None:
        """Let a stream wait for its turn to run."""
        self._stop_waiting(claim)
        claim.go_on = go_on
        claim.asked_at = now
        self._runs.add(claim)

    def ask_upload(self, claim: Claim, go_on: Callable[[], None], size: int) -> None:
        """Let a stream wait for room for a body of this size."""
        claim.go_on = go_on
        claim.size = max(size, self.need(claim.share))
        self._uploads.add(claim)

    def next_upload(self) -> Claim | None:
        """Return the next stream whose body has room now."""
        claim = self._uploads.take(self._may_upload)
        if claim is not None:
            self._grant(claim, claim.size)
        return claim

    def next_run(self, now: float) -> Claim | None:
        """Return the next stream to run; it has room for its reply from now on."""
        claim = self._runs.take(lambda claim: self._may_run(claim, now))
        if claim is not None:
            self._grant(claim, self._missing(claim))
            self.running += 1
            claim.is_running = True
        return claim

    def _may_upload(self, claim: Claim) -> bool:
        return self._has_room(claim, claim.size, UPLOAD_PART)

    def _may_run(self, claim: Claim, now: float) -> bool:
        if self.running >= self._at_once and now - claim.asked_at < TURN_SECONDS:
            return False
        missing = self._missing(claim)
        return not missing or self._has_room(claim, missing, 1)

    def _missing(self, claim: Claim) -> int:
        return max(0, max(self.need(claim.share), claim.loose) - claim.reserved)

    def _has_room(self, claim: Claim, size: int, part: int) -> bool:
        """Say whether this much more fits in one part of each share. One stream of a connection
        always does, and one body as long as nothing is closed for it."""
        share = claim.share
        if share.active == claim.has_room:
            return part == 1 or self.total + size <= OVERFLOW_BYTES
        return (
            share.reserved + size <= CONNECTION_BYTES // part
            and self._addresses[share.address] + size <= ADDRESS_BYTES // part
            and self.total + size <= ROOM_BYTES // part
        )

    def _grant(self, claim: Claim, size: int) -> None:
        """Reserve room; what came of a body before is part of it."""
        share = claim.share
        if not claim.has_room:
            claim.has_room = True
            share.active += 1
        self._count_loose(claim, -claim.loose)
        claim.loose = 0
        self._reserve(claim, size)

    def _reserve(self, claim: Claim, size: int) -> None:
        """Reserve this much more, or less."""
        claim.reserved += size
        claim.share.reserved += size
        self._count(claim.share.address, size)

    def _count(self, address: str, size: int) -> None:
        self.total += size
        addresses = self._addresses
        addresses[address] += size
        if not addresses[address]:
            del addresses[address]

    # What becomes of it.

    def receive(self, claim: Claim, size: int) -> None:
        """Count bytes of a body; one with room has them reserved."""
        if not claim.has_room:
            claim.loose += size
            self._count_loose(claim, size)

    def hold(self, claim: Claim, size: int) -> None:
        """Count bytes of a head, which is held until its stream is over."""
        claim.heads += size
        self._count_loose(claim, size)

    def _count_loose(self, claim: Claim, size: int) -> None:
        claim.share.loose += size
        self.total += size

    def reply(self, claim: Claim, size: int) -> None:
        """Count a reply's bytes in the place of what was reserved."""
        self._stop(claim)
        self._stop_waiting(claim)
        self._grant(claim, size - claim.reserved)

    def need(self, share: Share) -> int:
        """Return what a connection's next reply is expected to need."""
        return share.need or max(self._largest_before, self._largest)

    def learn(self, share: Share, size: int, now: float) -> None:
        """Remember what a function's reply needed."""
        size, need = max(size, LEAST_NEED_BYTES), self.need(share)
        share.need = size if size > need else need - (need - size) // NEED_FALLS_BY
        age = now - self._largest_since
        if age >= NEED_SECONDS:
            self._largest_before = self._largest if age < 2 * NEED_SECONDS else 0
            self._largest, self._largest_since = 0, now
        self._largest = max(self._largest, size)

    def send(self, claim: Claim, size: int) -> None:
        """Count out bytes that were written and are held no longer."""
        self._reserve(claim, -size)

    def forget(self, claim: Claim) -> None:
        """Let go of a stream that is over. What runs keeps its address's room until it ends."""
        self._stop_waiting(claim)
        share = claim.share
        self._count_loose(claim, -claim.loose - claim.heads)
        claim.loose = claim.heads = 0
        share.active -= claim.has_room
        claim.has_room = False
        if claim.is_running:
            share.reserved -= claim.reserved
            self.lost += claim.reserved
        else:
            self._reserve(claim, -claim.reserved)

    def end(self, claim: Claim) -> None:
        """Note that the invocation of a forgotten stream is over."""
        self._stop(claim)
        self.lost -= claim.reserved
        self._count(claim.share.address, -claim.reserved)
        claim.reserved = 0

    def _stop_waiting(self, claim: Claim) -> None:
        if claim.queue is not None:
            claim.queue.remove(claim)
            claim.take_go_on()

    def _stop(self, claim: Claim) -> None:
        self.running -= claim.is_running
        claim.is_running = False

    def largest_holder(self) -> Share | None:
        """Return the connection to close because more is held than may be, or None: the one that
        holds most of the address that holds most."""
        if self.total - self.lost <= OVERFLOW_BYTES:
            return None
        addresses: Counter[str] = Counter()
        for share in self.shares:
            addresses[share.address] += share.held_bytes
        return max(
            self.shares,
            key=lambda share: (addresses[share.address], share.held_bytes),
            default=None,
        )

"""Which request may go on, which waits, and which connection is closed for what it holds.

Memory is counted when it is promised and not when it is written. A large body gets room for all of
it before the rest of it is read. An HTTP/2 stream reserves room for its reply before it is run, as
much as replies have needed lately; over HTTP/1 a reply counts when its client does not take it.
Addresses and connections have shares, so that those that take nothing leave room for the others: an
HTTP/2 connection with nothing under way always gets one stream. More than there is room for closes
the connection that holds most of the address that holds most.
"""

from collections import Counter
from collections.abc import Callable

from gateway.core.turns import Claim, Share, Turns

MEGABYTE = 1024 * 1024

ROOM_BYTES = 32 * MEGABYTE
"""What all connections of a front together may hold or have reserved, unless `room_bytes` says
otherwise. Ours, as all of these."""

CONNECTION_PART = 8
ADDRESS_PART = 4
"""The shares of one connection and of one client address: such a part of the room."""

UPLOAD_PART = 2
"""Request bodies get one half of each share, so that slow uploads do not stop other requests."""

OVERFLOW_FACTOR = 1.5
"""With more than 1.5 times the room the largest holder is closed, and with more than the room one
whose address holds more than 1.5 times its share: replies may be larger than what was
reserved, and bodies come before they are granted room."""

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


class Room:
    """Counts what is held and reserved, and decides."""

    __slots__ = (
        "_addresses",
        "_at_once",
        "_held",
        "_largest_before",
        "_largest_lately",
        "_largest_since",
        "_loose",
        "_runs",
        "_shares",
        "_uploads",
        "address_bytes",
        "connection_bytes",
        "lost",
        "overflow_bytes",
        "room_bytes",
        "running",
        "total",
    )

    def __init__(self, at_once: int, room_bytes: int = ROOM_BYTES) -> None:
        """Take how many invocations may run at once, the function's concurrency."""
        self._at_once = max(1, at_once)
        self.room_bytes = room_bytes
        self.connection_bytes = room_bytes // CONNECTION_PART
        self.address_bytes = room_bytes // ADDRESS_PART
        self.overflow_bytes = int(room_bytes * OVERFLOW_FACTOR)
        self._runs, self._uploads = Turns(is_strict=False), Turns(is_strict=True)
        self._addresses: Counter[str] = Counter()
        """Bytes reserved by address, those of streams that were reset while they ran among them."""
        self._held: Counter[str] = Counter()
        """Bytes held or reserved by the connections of an address that are left."""
        self._loose: Counter[str] = Counter()
        """Those of them that have no room."""
        self._shares: dict[str, set[Share]] = {}
        self.total = self.lost = self.running = 0
        """Bytes held or reserved, those of streams that were reset while they ran among them; and
        how many streams run."""
        self._largest_before, self._largest_lately = FIRST_NEED_BYTES, 0
        self._largest_since = 0.0

    @property
    def shares(self) -> set[Share]:
        """Return what connections hold, those that hold nothing among them."""
        return {share for shares in self._shares.values() for share in shares}

    def enter(self, share: Share) -> None:
        """Take in a connection."""
        self._shares.setdefault(share.address, set()).add(share)

    def leave(self, share: Share) -> None:
        """Forget a connection; its claims are forgotten one by one."""
        shares = self._shares.get(share.address, set())
        shares.discard(share)
        if not shares:
            self._shares.pop(share.address, None)

    @property
    def is_waited_for(self) -> bool:
        """Say whether a claim waits."""
        return bool(self._runs or self._uploads)

    def is_scarce_for_others(self, share: Share) -> bool:
        """Say whether a connection holds much while others wait and most of the room is used."""
        return (
            self.is_waited_for
            and self.total > self.room_bytes // 2
            and share.held_bytes > self.connection_bytes // 2
        )

    # What a request asks for.

    def ask(self, claim: Claim, go_on: Callable[[], None], now: float) -> None:
        """Let a stream wait for its turn to run."""
        self._stop_waiting(claim)
        claim.go_on = go_on
        claim.asked_at = now
        self._runs.add(claim)

    def ask_upload(self, claim: Claim, go_on: Callable[[], None], size: int, now: float) -> None:
        """Let a request wait for room for a body of this size."""
        claim.go_on = go_on
        claim.asked_at = now
        claim.size = max(size, self.need(claim.share))
        self._uploads.add(claim)

    def next_upload(self) -> Claim | None:
        """Return the next request whose body has room now."""
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
        """Say whether a body fits. The first of an address does wherever nothing is closed for it,
        the first of a connection in its address's share."""
        size, address = claim.size, claim.share.address
        if not self._addresses[address]:
            return not self._addresses or self.total + size <= self.overflow_bytes
        if not claim.share.active:
            return self._fits(claim, size, 1)
        return self._fits(claim, size, UPLOAD_PART)

    def _may_run(self, claim: Claim, now: float) -> bool:
        if self.running >= self._at_once and now - claim.asked_at < TURN_SECONDS:
            return False
        if claim.share.active == claim.has_room:  # the one that a connection always gets
            return True
        missing = self._missing(claim)
        return not missing or self._fits(claim, missing, 1)

    def _missing(self, claim: Claim) -> int:
        return max(0, max(self.need(claim.share), claim.loose) - claim.reserved)

    def _fits(self, claim: Claim, size: int, part: int) -> bool:
        """Say whether this much more fits in one part of each share."""
        share = claim.share
        return (
            share.reserved + size <= self.connection_bytes // part
            and self._addresses[share.address] + size <= self.address_bytes // part
            and self.total + size <= self.room_bytes // part
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
        share = claim.share
        claim.reserved += size
        share.reserved += size
        add(self._held, share.address, size)
        self._count(share.address, size)

    def _count(self, address: str, size: int) -> None:
        self.total += size
        add(self._addresses, address, size)

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
        share = claim.share
        share.loose += size
        add(self._held, share.address, size)
        add(self._loose, share.address, size)
        self.total += size

    def reply(self, claim: Claim, size: int) -> None:
        """Count a reply's bytes in the place of what was reserved."""
        self._stop(claim)
        self._stop_waiting(claim)
        self._grant(claim, size - claim.reserved)

    def need(self, share: Share) -> int:
        """Return what a connection's next reply is expected to need."""
        return share.need or max(self._largest_before, self._largest_lately)

    def learn(self, share: Share, size: int, now: float) -> None:
        """Remember what a function's reply needed."""
        size, need = max(size, LEAST_NEED_BYTES), self.need(share)
        share.need = size if size > need else need - (need - size) // NEED_FALLS_BY
        age = now - self._largest_since
        if age >= NEED_SECONDS:
            self._largest_before = self._largest_lately if age < 2 * NEED_SECONDS else 0
            self._largest_lately, self._largest_since = 0, now
        self._largest_lately = max(self._largest_lately, size)

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
            add(self._held, share.address, -claim.reserved)
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
        """Return the connection to close because more is held than may be, or None."""
        held = self.total - self.lost
        if held <= self.room_bytes:
            return None
        if held > self.overflow_bytes:
            return self._largest(self._held)
        share = self._largest(self._loose)
        most = self.address_bytes * OVERFLOW_FACTOR
        return share if share is not None and self._loose[share.address] > most else None

    def in_the_way_of(self, claim: Claim) -> Share | None:
        """Return the connection to close so that a body gets room whose address has none, or None:
        one of an address that holds more than twice as much."""
        address, size = claim.share.address, claim.size
        if claim.has_room or self._addresses[address]:
            return None
        share = self._largest(self._held)
        is_larger = share is not None and self._held[share.address] > 2 * size
        return share if is_larger and self.total + size > self.overflow_bytes else None

    def _largest(self, by_address: Counter[str]) -> Share | None:
        """Return the connection that holds most, of the address that has most here."""
        address = max(self._shares, key=by_address.__getitem__, default=None)
        if address is None:
            return None
        return max(self._shares[address], key=lambda share: share.held_bytes)


def add(counter: Counter[str], key: str, size: int) -> None:
    """Add to a count, which is not kept at 0."""
    counter[key] += size
    if not counter[key]:
        del counter[key]

"""What each connection holds of the room that all share, and in which order those that wait go on.

Turns go round the client addresses, then round the connections of an address; the claims of a
connection keep their order. What is decided about them is in room.py.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Share:
    """What one connection holds."""

    __slots__ = ("active", "address", "evict", "loose", "need", "reserved", "waiting")

    def __init__(self, address: str, evict: Callable[[], None]) -> None:
        self.address = address
        self.evict = evict
        """Close the connection and forget its claims."""
        self.reserved = self.loose = 0
        """Bytes of claims with room; bytes without: small bodies, heads, replies over HTTP/1."""
        self.active = self.waiting = 0
        """Claims that have room, and claims that wait for it."""
        self.need = 0
        """What a reply needs, from the connection's own; 0 before the first."""

    @property
    def held_bytes(self) -> int:
        """Return what is held, or reserved, for the connection."""
        return self.reserved + self.loose


class Claim:
    """What one request asks for: room for its body, a turn to run, room for its reply."""

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
        """Return what to do and keep no reference: it would be a cycle, and hold what the request
        holds until the collector looks."""
        go_on, self.go_on = self.go_on, do_nothing
        return go_on


def do_nothing() -> None:
    """Do nothing."""


class Turns:
    """Claims that wait."""

    __slots__ = ("_is_strict", "_waiting")

    def __init__(self, *, is_strict: bool) -> None:
        """`is_strict`: a claim that waits for more than its own connection's share holds up those
        of its address behind it, so that 1,000 that wait cost no more than one."""
        self._is_strict = is_strict
        self._waiting: dict[str, dict[Share, deque[Claim]]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, claim: Claim) -> None:
        """Let a claim wait."""
        claim.queue = self
        share = claim.share
        share.waiting += 1
        self._waiting.setdefault(share.address, {}).setdefault(share, deque()).append(claim)

    def remove(self, claim: Claim) -> None:
        """Let a claim wait no longer."""
        claim.queue = None
        share = claim.share
        share.waiting -= 1
        shares = self._waiting[share.address]
        shares[share].remove(claim)
        if not shares[share]:
            del shares[share]
        if not shares:
            del self._waiting[share.address]

    def take(self, may: Callable[[Claim], bool]) -> Claim | None:
        """Return the next claim that may go on; its address, and in it its connection, is then the
        last in the round."""
        for address, shares in self._waiting.items():
            claim = self._first(shares, may)
            if claim is not None:
                self.remove(claim)
                move_to_end(shares, claim.share)
                move_to_end(self._waiting, address)
                return claim
        return None

    def _first(
        self, shares: dict[Share, deque[Claim]], may: Callable[[Claim], bool]
    ) -> Claim | None:
        for share, claims in shares.items():
            if may(claims[0]):
                return claims[0]
            if self._is_strict and not share.active:
                return None
        return None


def move_to_end(mapping: dict[Key, Value], key: Key) -> None:
    """Make a key the last one, if it is there."""
    if key in mapping:
        mapping[key] = mapping.pop(key)

"""A room and what connections hold of it."""

import pytest

from gateway.core.room import (
    ADDRESS_PART,
    CONNECTION_PART,
    OVERFLOW_FACTOR,
    ROOM_BYTES,
    Room,
)
from gateway.core.turns import Claim, Share, do_nothing

CONNECTION_BYTES = ROOM_BYTES // CONNECTION_PART
ADDRESS_BYTES = ROOM_BYTES // ADDRESS_PART
OVERFLOW_BYTES = int(ROOM_BYTES * OVERFLOW_FACTOR)

MANY = 10_000
AROUND = pytest.mark.parametrize("over", [-1, 0, 1])


def share(room: Room, address: str = "a") -> Share:
    made = Share(address, do_nothing)
    room.enter(made)
    return made


def holding(room: Room, size: int, address: str = "a", *, of: Share | None = None) -> Claim:
    """A claim of a reply of this size, on a connection of its own unless one is given."""
    claim = Claim(of or share(room, address))
    room.reply(claim, size)
    return claim


def asking(room: Room, of: Share, now: float = 0.0) -> Claim:
    claim = Claim(of)
    room.ask(claim, do_nothing, now)
    return claim


def run_all(room: Room, now: float = 0.0) -> list[Claim]:
    found = []
    while (claim := room.next_run(now)) is not None:
        found.append(claim)
    return found

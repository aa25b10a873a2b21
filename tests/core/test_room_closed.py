"""Which connection is closed for what it holds."""

import pytest

from gateway.core.room import (
    MEGABYTE,
    OVERFLOW_FACTOR,
    ROOM_BYTES,
    Room,
)
from gateway.core.turns import Claim, do_nothing
from tests.core.rooms import (
    ADDRESS_BYTES,
    AROUND,
    CONNECTION_BYTES,
    MANY,
    OVERFLOW_BYTES,
    asking,
    holding,
    run_all,
    share,
)


@AROUND
def test_largest_holder_is_closed_over_the_most(over: int) -> None:
    room = Room(MANY)
    holding(room, OVERFLOW_BYTES // 3)
    largest = holding(room, OVERFLOW_BYTES // 3 * 2 + over)

    assert room.largest_holder() is (largest.share if over > 0 else None)


def test_largest_holder_is_of_the_address_that_holds_most() -> None:
    room = Room(MANY)
    holding(room, OVERFLOW_BYTES // 2 - 1, "honest")
    small, large = (holding(room, OVERFLOW_BYTES // 4 + more, "flood") for more in (5, 6))

    assert room.largest_holder() is large.share
    room.leave(large.share), room.leave(small.share)
    assert room.largest_holder() is not None


@AROUND
def test_address_without_room_for_what_it_holds_is_closed_when_the_room_is_used_up(
    over: int,
) -> None:
    room = Room(MANY)
    most = int(ADDRESS_BYTES * OVERFLOW_FACTOR)
    holding(room, ROOM_BYTES - most, "b")
    small, large = Claim(share(room)), Claim(share(room))
    room.receive(small, MEGABYTE)
    room.receive(large, most - MEGABYTE + over)

    assert room.largest_holder() is (large.share if over > 0 else None)


def test_address_may_hold_much_while_there_is_room() -> None:
    room = Room(MANY)
    claim = Claim(share(room))
    room.receive(claim, ROOM_BYTES)
    assert room.largest_holder() is None

    room.receive(claim, 1)

    assert room.largest_holder() is claim.share


@AROUND
@pytest.mark.parametrize("what", ["address", "room"])
def test_largest_is_in_the_way_of_a_body_whose_address_has_no_room(what: str, over: int) -> None:
    room = Room(MANY)
    holder = holding(room, 2 * MEGABYTE + (over if what == "address" else 1))
    rest = OVERFLOW_BYTES - MEGABYTE - holder.reserved + (over if what == "room" else 1)
    for number in range(rest // MEGABYTE):
        holding(room, MEGABYTE, f"b{number}")
    holding(room, rest % MEGABYTE, "c")
    claim = Claim(share(room, "d"))
    room.ask_upload(claim, do_nothing, MEGABYTE, 0)

    assert room.in_the_way_of(claim) is (holder.share if over > 0 else None)


def test_nothing_is_in_the_way_of_a_body_that_has_room_or_whose_address_has() -> None:
    room = Room(MANY)
    claim = holding(room, MEGABYTE)
    holding(room, OVERFLOW_BYTES, "b")
    other = Claim(share(room))
    room.ask_upload(other, do_nothing, MEGABYTE, 0)

    assert [room.in_the_way_of(one) for one in (claim, other)] == [None, None]


def test_connection_that_is_not_known_may_leave() -> None:
    room = Room(MANY)
    one = share(room)
    room.leave(one)
    room.leave(one)

    assert room.shares == set()


def test_nothing_is_closed_for_what_reset_streams_have_reserved() -> None:
    room = Room(MANY)
    claim = asking(room, share(room))
    claim.share.need = 2 * OVERFLOW_BYTES
    run_all(room)
    assert room.largest_holder() is claim.share

    room.forget(claim)

    assert room.largest_holder() is None


def test_nothing_is_closed_where_no_connection_is_left() -> None:
    room = Room(MANY)
    claim = holding(room, 2 * OVERFLOW_BYTES)
    room.leave(claim.share)

    assert room.largest_holder() is None


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("what", ["share", "room"])
def test_room_is_scarce_for_others_when_they_wait_and_most_is_used(what: str, more: int) -> None:
    room = Room(MANY)
    own = CONNECTION_BYTES // 2 + (more if what == "share" else 1)
    stalled = holding(room, own)
    holding(room, ROOM_BYTES // 2 - own + (more if what == "room" else 1), "b")
    assert not room.is_scarce_for_others(stalled.share)

    asking(room, share(room))

    assert room.is_scarce_for_others(stalled.share) is (more == 1)

"""Which body is read on, and which waits for room."""

import pytest

from gateway.core.room import (
    MEGABYTE,
    ROOM_BYTES,
    UPLOAD_PART,
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
def test_body_without_room_waits_for_a_part_of_the_share(over: int) -> None:
    room = Room(MANY)
    one = share(room)
    half = CONNECTION_BYTES // UPLOAD_PART
    holding(room, half - MEGABYTE + over, of=one)
    claim = Claim(one)
    room.receive(claim, 20_000)
    room.ask_upload(claim, do_nothing, MEGABYTE, 0)

    assert room.next_upload() is (claim if over <= 0 else None)
    assert claim.reserved == (MEGABYTE if over <= 0 else 0)
    assert claim.loose == (0 if over <= 0 else 20_000)


@AROUND
def test_first_body_of_an_address_waits_only_where_others_would_be_closed_for_it(
    over: int,
) -> None:
    room = Room(MANY)
    holding(room, OVERFLOW_BYTES - MEGABYTE + over, "b")
    claim = Claim(share(room))
    room.ask_upload(claim, do_nothing, MEGABYTE, 0)

    assert room.next_upload() is (claim if over <= 0 else None)


@AROUND
@pytest.mark.parametrize("what", ["address", "room"])
def test_first_body_of_a_connection_has_its_address_share(what: str, over: int) -> None:
    room = Room(MANY)
    holding(room, 1 if what == "room" else ADDRESS_BYTES - MEGABYTE + over)
    if what == "room":
        holding(room, ROOM_BYTES - MEGABYTE - 1 + over, "b")
    claim = Claim(share(room))
    room.ask_upload(claim, do_nothing, MEGABYTE, 0)

    assert room.next_upload() is (claim if over <= 0 else None)


def test_one_body_fits_into_the_smallest_room() -> None:
    room = Room(MANY, 1)
    first, second = Claim(share(room)), Claim(share(room, "b"))
    for claim in (first, second):
        room.ask_upload(claim, do_nothing, MEGABYTE, 0)

    assert (room.next_upload(), room.next_upload()) == (first, None)
    room.forget(first)
    assert room.next_upload() is second


def test_body_that_waits_for_its_address_holds_up_no_other_address() -> None:
    room = Room(MANY)
    holding(room, ADDRESS_BYTES)
    for claim in [Claim(share(room)) for _ in range(3)]:
        room.ask_upload(claim, do_nothing, MEGABYTE, 0)
    other = Claim(share(room, "b"))
    room.ask_upload(other, do_nothing, MEGABYTE, 0)

    assert (room.next_upload(), room.next_upload()) == (other, None)


def test_body_with_room_runs_without_more_of_it() -> None:
    room = Room(MANY)
    one = share(room)
    claim = Claim(one)
    room.ask_upload(claim, do_nothing, 10, 0)
    assert room.next_upload() is claim
    room.receive(claim, 10)
    holding(room, CONNECTION_BYTES, of=one)

    room.ask(claim, do_nothing, 0)

    assert run_all(room) == [claim]
    assert claim.reserved == MEGABYTE


def test_body_that_ends_while_it_waits_for_room_waits_for_its_turn_alone() -> None:
    room = Room(MANY)
    claim = Claim(share(room))
    room.receive(claim, 5)
    room.ask_upload(claim, do_nothing, 10, 0)

    room.ask(claim, do_nothing, 0)

    assert room.next_upload() is None
    assert run_all(room) == [claim]
    assert (claim.share.waiting, claim.share.held_bytes) == (0, MEGABYTE)


def test_uploads_that_wait_do_not_hold_up_requests() -> None:
    room = Room(MANY)
    one = share(room)
    uploads = [Claim(one) for _ in range(8)]
    for claim in uploads:
        room.ask_upload(claim, do_nothing, MEGABYTE, 0)
    while room.next_upload() is not None:
        pass
    assert sum(claim.has_room for claim in uploads) == 2

    request = asking(room, one)

    assert run_all(room) == [request]

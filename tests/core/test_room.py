"""Which streams run, wait or are closed: each share just below, at and just above its bytes."""

from collections.abc import Callable
from random import Random

import pytest

from gateway.core.room import (
    ADDRESS_BYTES,
    CONNECTION_BYTES,
    FIRST_NEED_BYTES,
    LEAST_NEED_BYTES,
    MEGABYTE,
    NEED_FALLS_BY,
    OVERFLOW_BYTES,
    ROOM_BYTES,
    TURN_SECONDS,
    UPLOAD_PART,
    Claim,
    Room,
    Share,
    do_nothing,
)

MANY = 10_000
AROUND = pytest.mark.parametrize("over", [-1, 0, 1])


def share(room: Room, address: str = "a") -> Share:
    made = Share(address, do_nothing)
    room.shares.add(made)
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


# Room


def test_stream_reserves_what_a_reply_needs() -> None:
    room = Room(MANY)
    claim = asking(room, share(room))

    assert run_all(room) == [claim]
    assert (claim.reserved, room.total) == (FIRST_NEED_BYTES, MEGABYTE)


@AROUND
def test_connection_has_its_share(over: int) -> None:
    room = Room(MANY)
    one = share(room)
    holding(room, CONNECTION_BYTES - MEGABYTE + over, of=one)
    asking(room, one)

    assert len(run_all(room)) == (over <= 0)


@AROUND
def test_address_has_its_share(over: int) -> None:
    room = Room(MANY)
    one = share(room)
    holding(room, 1, of=one)
    holding(room, ADDRESS_BYTES - MEGABYTE - 1 + over)
    asking(room, one)
    other = share(room, "b")
    holding(room, 1, of=other)
    asking(room, other)

    assert [claim.share for claim in run_all(room)] == [one, other][over > 0 :]


@AROUND
def test_all_have_their_share(over: int) -> None:
    room = Room(MANY)
    one = share(room)
    holding(room, 1, of=one)
    for address in "bcde":
        holding(room, (ROOM_BYTES - MEGABYTE) // 4, address)
    holding(room, ROOM_BYTES - MEGABYTE - room.total + over, "f")
    asking(room, one)

    assert len(run_all(room)) == (over <= 0)


def test_connection_with_nothing_under_way_always_gets_one_stream() -> None:
    room = Room(MANY)
    holding(room, 2 * ROOM_BYTES)
    one = share(room)
    first, second = asking(room, one), asking(room, one)

    assert run_all(room) == [first]
    room.reply(first, 10)
    assert run_all(room) == []
    room.forget(first)
    assert run_all(room) == [second]


def test_room_that_is_left_is_given_to_those_that_wait() -> None:
    room = Room(MANY)
    one = share(room)
    claims = [asking(room, one) for _ in range(6)]
    assert run_all(room) == claims[:4]

    room.reply(claims[0], MEGABYTE)
    assert run_all(room) == []
    room.send(claims[0], MEGABYTE)

    assert run_all(room) == claims[4:5]


# Turns


def test_connections_take_turns_and_then_their_streams() -> None:
    room = Room(MANY)
    greedy, modest = share(room), share(room)
    greedy.need = modest.need = 1
    many = [asking(room, greedy) for _ in range(3)]
    few = [asking(room, modest) for _ in range(2)]

    assert run_all(room) == [many[0], few[0], many[1], few[1], many[2]]


def test_connection_without_room_holds_up_no_other() -> None:
    room = Room(MANY)
    full, other = share(room), share(room, "b")
    holding(room, CONNECTION_BYTES, of=full)
    asking(room, full)
    claim = asking(room, other)

    assert run_all(room) == [claim]


@AROUND
def test_the_limit_of_streams_run_at_once(over: int) -> None:
    room = Room(3)
    claims = [asking(room, share(room)) for _ in range(3 + over)]

    assert run_all(room) == claims[:3]
    room.reply(claims[0], 1)
    assert run_all(room) == claims[3:]


@pytest.mark.parametrize(("seconds", "runs"), [(-0.1, False), (0, True), (0.1, True)])
def test_stream_that_waited_long_for_its_turn_is_run(seconds: float, *, runs: bool) -> None:
    """The function's own limit then decides, as on AWS."""
    room = Room(0)  # as 1
    one = share(room)
    one.need = 1
    asking(room, one)
    run_all(room)
    claim = asking(room, one, now=5.0)

    assert run_all(room, 5.0 + TURN_SECONDS + seconds) == [claim] * runs


# What replies need


def test_need_of_a_connection_rises_at_once_and_falls_slowly() -> None:
    room = Room(MANY)
    one = share(room)
    assert room.need(one) == FIRST_NEED_BYTES
    room.learn(one, 0, 0)
    assert room.need(one) == MEGABYTE - (MEGABYTE - LEAST_NEED_BYTES) // NEED_FALLS_BY

    for _ in range(200):
        room.learn(one, 0, 0)
    assert LEAST_NEED_BYTES <= room.need(one) < LEAST_NEED_BYTES + NEED_FALLS_BY

    room.learn(one, 700_000, 0)
    assert room.need(one) == 700_000


@pytest.mark.parametrize(
    ("then", "seconds", "need"),
    [
        (9.9, 9.9, MEGABYTE),
        (9.9, 10.0, 500_000),
        (9.9, 19.9, 500_000),
        (10.0, 20.0, 500_000),
        (10.0, 29.9, 500_000),
        (10.0, 30.0, LEAST_NEED_BYTES),
    ],
)
def test_need_of_a_new_connection_is_the_largest_lately(
    then: float, seconds: float, need: int
) -> None:
    room = Room(MANY)
    room.learn(share(room), 500_000, then)

    room.learn(share(room), 0, seconds)

    assert room.need(share(room)) == need


def test_reply_smaller_than_what_was_reserved_leaves_room() -> None:
    room = Room(MANY)
    claim = asking(room, share(room))
    run_all(room)

    room.reply(claim, 100)

    assert (claim.share.held_bytes, room.total) == (100, 100)


# Uploads


@AROUND
def test_body_without_room_waits_for_a_part_of_the_share(over: int) -> None:
    room = Room(MANY)
    one = share(room)
    half = CONNECTION_BYTES // UPLOAD_PART
    holding(room, half - MEGABYTE + over, of=one)
    claim = Claim(one)
    room.receive(claim, 20_000)
    room.ask_upload(claim, do_nothing, MEGABYTE)

    assert room.next_upload() is (claim if over <= 0 else None)
    assert claim.reserved == (MEGABYTE if over <= 0 else 0)
    assert claim.loose == (0 if over <= 0 else 20_000)


@AROUND
def test_first_body_of_a_connection_waits_only_where_others_would_be_closed_for_it(
    over: int,
) -> None:
    room = Room(MANY)
    holding(room, OVERFLOW_BYTES - MEGABYTE + over, "b")
    claim = Claim(share(room))
    room.ask_upload(claim, do_nothing, MEGABYTE)

    assert room.next_upload() is (claim if over <= 0 else None)


def test_body_with_room_runs_without_more_of_it() -> None:
    room = Room(MANY)
    one = share(room)
    claim = Claim(one)
    room.ask_upload(claim, do_nothing, 10)
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
    room.ask_upload(claim, do_nothing, 10)

    room.ask(claim, do_nothing, 0)

    assert room.next_upload() is None
    assert run_all(room) == [claim]
    assert (claim.share.waiting, claim.share.held_bytes) == (0, MEGABYTE)


def test_uploads_that_wait_do_not_hold_up_requests() -> None:
    room = Room(MANY)
    one = share(room)
    uploads = [Claim(one) for _ in range(8)]
    for claim in uploads:
        room.ask_upload(claim, do_nothing, MEGABYTE)
    while room.next_upload() is not None:
        pass
    assert sum(claim.has_room for claim in uploads) == 2

    request = asking(room, one)

    assert run_all(room) == [request]


# Ends


@pytest.mark.parametrize("state", ["waiting", "uploading", "head", "body", "running", "replied"])
def test_stream_that_is_over_holds_nothing(state: str) -> None:
    room = Room(MANY)
    one = share(room)
    claim = Claim(one)
    states: dict[str, Callable[[], object]] = {
        "waiting": lambda: room.ask(claim, do_nothing, 0),
        "uploading": lambda: room.ask_upload(claim, do_nothing, 10),
        "head": lambda: room.hold(claim, 10),
        "body": lambda: room.receive(claim, 10),
        "running": lambda: (room.ask(claim, do_nothing, 0), run_all(room)),
        "replied": lambda: room.reply(claim, 10),
    }
    states[state]()

    room.forget(claim)

    assert (one.held_bytes, one.waiting, one.active) == (0, 0, 0)
    assert not room.is_waited_for
    if state == "running":
        assert (room.total, room.lost, room.running) == (MEGABYTE, MEGABYTE, 1)
        room.end(claim)
    assert (room.total, room.lost, room.running) == (0, 0, 0)
    assert not room._addresses


def test_invocation_of_a_reset_stream_counts_against_its_address() -> None:
    room = Room(MANY)
    for _ in range(ADDRESS_BYTES // MEGABYTE):
        claim = asking(room, share(room))
        run_all(room)
        room.forget(claim)
    one = share(room)
    asking(room, one), asking(room, one)

    assert len(run_all(room)) == 1


# What is closed


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
    room.shares -= {large.share, small.share}
    assert room.largest_holder() is not None


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
    room.shares.discard(claim.share)

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


class Chance:
    """Streams of five connections that ask, run and end in a random order."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.room = Room(5)
        self.shares = [share(self.room, address) for address in "aabcd"]
        self.claims: list[Claim] = []
        self.lost: list[Claim] = []

    def go_on(self, now: float) -> None:
        random, room = self.random, self.room
        running = [claim for claim in self.claims if claim.is_running]
        match random.randrange(7):
            case 0:
                self.claims.append(asking(room, random.choice(self.shares), now))
            case 1:
                self.claims.append(Claim(random.choice(self.shares)))
                room.hold(self.claims[-1], random.randrange(1, 70_000))
                room.receive(self.claims[-1], random.randrange(1, 60_000))
                room.ask_upload(self.claims[-1], do_nothing, random.randrange(1, MEGABYTE))
            case 2:
                room.next_run(now)
                room.next_upload()
            case 3 | 4 if running:
                size = random.randrange(2 * MEGABYTE)
                claim = random.choice(running)
                room.learn(claim.share, size, now)
                room.reply(claim, size)
            case _:
                self.end_one()

    def end_one(self) -> None:
        if self.lost and self.random.random() < 0.3:
            self.room.end(self.lost.pop())
        elif self.claims:
            claim = self.claims.pop(self.random.randrange(len(self.claims)))
            self.lost += [claim] * claim.is_running
            self.room.forget(claim)


def held(claim: Claim) -> int:
    return claim.reserved + claim.loose + claim.heads


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_right_whatever_happens(seed: int) -> None:
    chance = Chance(seed)
    room = chance.room
    for step in range(300):
        chance.go_on(step / 10)

        every = [*chance.claims, *chance.lost]
        assert room.total == sum(map(held, every))
        assert room.lost == sum(claim.reserved for claim in chance.lost)
        assert room.running == sum(claim.is_running for claim in every)
        for one in chance.shares:
            own = [claim for claim in chance.claims if claim.share is one]
            assert one.held_bytes == sum(map(held, own))
            assert one.active == sum(claim.has_room for claim in own)
            assert one.waiting == sum(claim.queue is not None for claim in own)

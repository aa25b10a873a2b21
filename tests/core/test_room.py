"""Which streams run, wait or are closed: each share just below, at and just above its bytes."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from gateway.core.room import (
    FIRST_NEED_BYTES,
    LEAST_NEED_BYTES,
    MEGABYTE,
    NEED_FALLS_BY,
    ROOM_BYTES,
    TURN_SECONDS,
    Room,
)
from gateway.core.turns import Claim, do_nothing
from tests.core.rooms import (
    ADDRESS_BYTES,
    AROUND,
    CONNECTION_BYTES,
    MANY,
    asking,
    holding,
    run_all,
    share,
)

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


# Ends


@pytest.mark.parametrize("state", ["waiting", "uploading", "head", "body", "running", "replied"])
def test_stream_that_is_over_holds_nothing(state: str) -> None:
    room = Room(MANY)
    one = share(room)
    claim = Claim(one)
    states: dict[str, Callable[[], object]] = {
        "waiting": lambda: room.ask(claim, do_nothing, 0),
        "uploading": lambda: room.ask_upload(claim, do_nothing, 10, 0),
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
                room.ask_upload(self.claims[-1], do_nothing, random.randrange(1, MEGABYTE), 0)
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


def sums(claims: list[Claim], size: Callable[[Claim], int]) -> dict[str, int]:
    """What the claims of each address come to, where that is something."""
    found: Counter[str] = Counter()
    for claim in claims:
        found[claim.share.address] += size(claim)
    return +found


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
        assert room._held == sums(chance.claims, held)
        assert room._loose == sums(chance.claims, lambda claim: claim.loose + claim.heads)
        for one in chance.shares:
            own = [claim for claim in chance.claims if claim.share is one]
            assert one.held_bytes == sum(map(held, own))
            assert one.active == sum(claim.has_room for claim in own)
            assert one.waiting == sum(claim.queue is not None for claim in own)

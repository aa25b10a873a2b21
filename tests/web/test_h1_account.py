"""What HTTP/1 connections hold counts while they wait; large bodies wait for room."""

import pytest

from gateway.core.limits import SWEEP_SECONDS, Limits
from gateway.core.room import ADDRESS_PART, MEGABYTE, OVERFLOW_FACTOR, ROOM_BYTES, Room
from gateway.core.turns import Claim, Share, do_nothing
from gateway.web.h1_account import SMALL_BODY_BYTES, UNCOUNTED_BYTES
from tests.web.peer import CANARY, CLIENT, GET, Held, Serve, Telling, World, chunked, post
from tests.web.transport import Peer

ADDRESS_BYTES = ROOM_BYTES // ADDRESS_PART
OVERFLOW_BYTES = int(ROOM_BYTES * OVERFLOW_FACTOR)
LARGE = post(b"x" * MEGABYTE)
HEAD_BYTES = len(LARGE) - MEGABYTE
AROUND = pytest.mark.parametrize("over", [-1, 0, 1])


def room(world: World) -> Room:
    return world.front.shared_room.room


def other(world: World, size: int, address: str = "other") -> Claim:
    """A claim of another connection that holds this much."""
    share = Share(address, do_nothing)
    room(world).enter(share)
    claim = Claim(share)
    room(world).reply(claim, size)
    return claim


def end(world: World, *claims: Claim) -> None:
    for claim in claims:
        room(world).forget(claim)
        room(world).leave(claim.share)
    world.front.shared_room.wake()
    world.turn()


def begun(world: World, data: bytes) -> Peer:
    peer = world.connect()
    peer.send(data)
    world.turn()
    return peer


# What counts


BEGUN = {
    "head": lambda size: (GET[:-2] + b"X:").ljust(size, b"a"),
    "body": lambda size: post(b"x" * 9000)[: size - 9000],
    "chunked": lambda size: chunked(b"x" * size, end=b""),
    "requests": lambda size: GET + b"y" * size,
}


@AROUND
@pytest.mark.parametrize("what", BEGUN)
def test_what_waits_for_the_client_counts_above_a_little(
    serve: Serve, what: str, over: int
) -> None:
    size = UNCOUNTED_BYTES + over
    held = Held()
    world = serve(held)

    begun(world, BEGUN[what](size))

    assert room(world).total == (size if over > 0 else 0)
    if what == "requests":
        held.release()


def test_response_counts_as_far_as_it_is_not_taken(serve: Serve) -> None:
    world = serve(Telling(MEGABYTE))
    peer = world.connect(room=10)
    peer.send(GET)
    world.turn()
    assert room(world).total == peer.unsent > MEGABYTE

    peer.take(1000)
    world.wait(SWEEP_SECONDS)
    assert room(world).total == peer.unsent

    peer.take()
    world.turn()
    assert room(world).total == 0
    assert peer.statuses == [200]


def test_requests_behind_a_response_that_is_not_taken_count_with_it(serve: Serve) -> None:
    world = serve(Telling(MEGABYTE))
    peer = world.connect(room=0)
    peer.send(GET + GET)
    peer.send(b"y" * 5000)
    world.turn()

    assert room(world).total == peer.unsent + len(GET) + 5000

    peer.take()
    world.turn()
    assert len(world.front.responder.requests) == 2  # type: ignore[attr-defined]
    assert room(world).total == 5000


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_nothing_counts_that_is_complete(serve: Serve, pieces: int) -> None:
    data = post(b"x" * 60_000) + (GET[:-2] + b"X: " + b"a" * 9000 + b"\r\n\r\n") + CANARY
    size = len(data) // pieces + 1
    world = serve()

    peer = world.exchange(*[data[at : at + size] for at in range(0, len(data), size)])

    assert peer.statuses == [200] * 3
    assert (room(world).total, room(world).shares) == (0, set())


def test_empty_lines_behind_a_request_count_no_longer(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = begun(world, GET + b"\r\n" * 3000)
    assert room(world).total == 6000

    held.release()
    world.turn()

    assert (room(world).total, peer.statuses) == (0, [200])


def test_stall_of_100_continue_leaves_the_body_its_count(serve: Serve) -> None:
    world = serve()
    peer = world.connect(room=0)
    peer.send(post(b"x" * 9000, b"Expect: 100-continue")[:-1000])
    world.turn()
    world.wait(SWEEP_SECONDS)
    assert room(world).total == 8000

    peer.take()
    world.turn()
    assert room(world).total == 8000


# Bodies


@AROUND
def test_large_body_has_room_for_all_of_it(serve: Serve, over: int) -> None:
    world = serve()

    peer = begun(world, LARGE[: HEAD_BYTES + SMALL_BODY_BYTES + over])

    assert room(world).total == (MEGABYTE if over > 0 else SMALL_BODY_BYTES + over)
    assert not peer.is_reading_paused


def test_chunked_body_has_room_for_the_largest(serve: Serve) -> None:
    world = serve()

    begun(world, chunked(b"x" * (SMALL_BODY_BYTES + 1), end=b""))

    assert room(world).total == MEGABYTE


@AROUND
def test_small_body_never_waits(serve: Serve, over: int) -> None:
    world = serve()
    claim = other(world, ADDRESS_BYTES, CLIENT[0])
    data = post(b"x" * (SMALL_BODY_BYTES + 1))[: over - 1 or None]

    peer = world.exchange(data[:-1], data[-1:])

    assert peer.is_reading_paused is False
    end(world, claim)


def test_large_body_waits_for_room_and_is_read_on(serve: Serve) -> None:
    world = serve()
    claim = other(world, ADDRESS_BYTES, CLIENT[0])
    peer = begun(world, LARGE[:70_000])
    assert peer.is_reading_paused
    peer.send(LARGE[70_000:])
    assert room(world).total == ADDRESS_BYTES + 70_000 - HEAD_BYTES

    end(world, claim)

    assert peer.statuses == [200]
    assert len(world.asked.body) == MEGABYTE


def test_body_that_came_whole_needs_no_room(serve: Serve) -> None:
    world = serve()
    claim = other(world, ADDRESS_BYTES, CLIENT[0])

    assert world.exchange(LARGE).statuses == [200]
    end(world, claim)


def test_no_time_counts_while_a_body_waits(serve: Serve) -> None:
    world = serve(limits=Limits(room_seconds=1000, idle_seconds=5, body_grace_seconds=5))
    claim = other(world, ADDRESS_BYTES, CLIENT[0])
    peer = begun(world, LARGE[:70_000])

    world.wait(900)
    end(world, claim)
    peer.send(LARGE[70_000:])
    world.turn()

    assert peer.statuses == [200]


@pytest.mark.parametrize(("seconds", "statuses"), [(29.75, []), (30, [503]), (30.25, [503])])
def test_body_that_waits_too_long_is_refused(
    serve: Serve, seconds: float, statuses: list[int]
) -> None:
    world = serve()
    claim = other(world, ADDRESS_BYTES, CLIENT[0])
    peer = begun(world, LARGE[:70_000])

    world.wait(seconds)

    assert peer.statuses == statuses
    assert [status for status, _ in world.noted] == statuses
    assert peer.is_reading_paused is not bool(statuses)  # a refused client may write on
    end(world, claim)


def test_client_that_leaves_while_its_body_waits_holds_nothing(serve: Serve) -> None:
    world = serve()
    claim = other(world, ADDRESS_BYTES, CLIENT[0])
    peer = begun(world, LARGE[:70_000])

    peer.leave()
    world.turn()

    assert room(world).total == ADDRESS_BYTES
    assert not room(world).is_waited_for
    end(world, claim)


# What is closed


def test_largest_holder_is_closed_for_a_body_of_another_address(serve: Serve) -> None:
    world = serve(Telling(3 * MEGABYTE), limits=Limits(room_bytes=2 * MEGABYTE + MEGABYTE // 2))
    holder = world.connect(client=("192.0.2.9", 1), room=0)
    holder.send(GET)
    world.turn()

    peer = begun(world, LARGE[:70_000])
    world.turn()

    assert holder.is_reset
    assert not peer.is_reading_paused
    assert room(world).total == MEGABYTE


@AROUND
@pytest.mark.parametrize("what", BEGUN)
def test_connection_with_an_incomplete_request_is_refused_over_the_room(
    serve: Serve, what: str, over: int
) -> None:
    held = Held()
    world = serve(held, limits=Limits(room_bytes=8000))

    peer = begun(world, BEGUN[what](8000 + over))

    if what == "requests":
        assert peer.is_reset is False
        assert peer.is_aborted is (over > 0)
        held.release()
    else:
        assert peer.statuses == [503] * (over > 0)
        assert peer.is_half_closed is (over > 0)


@pytest.mark.parametrize("first", [0, 1])
def test_client_that_takes_least_is_cut_off_over_the_room(serve: Serve, first: int) -> None:
    world = serve(Telling(MEGABYTE), limits=Limits(room_bytes=MEGABYTE))
    peers = [world.connect(client=("192.0.2.9", port), room=0) for port in (1, 2)]
    for peer, taken in zip(peers, [1000, 0] if first else [0, 1000], strict=True):
        peer.take(taken)
        peer.send(GET)
        world.turn()

    assert [peer.is_reset for peer in peers] == [not first, bool(first)]
    assert room(world).total == peers[1 - first].unsent


def test_invocation_of_a_client_that_was_cut_off_counts_until_its_end(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=Limits(room_bytes=8000))
    begun(world, BEGUN["requests"](8001))
    assert len(world.front.members.connections) == 1
    assert room(world).total == 0

    held.release()
    world.turn()

    assert [status for status, _ in world.noted] == [460]

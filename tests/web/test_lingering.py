"""Refused clients that still send, just before and at each limit; no time really passes."""

from dataclasses import replace

import pytest

from gateway.core.limits import BRIEF_LINGER_SECONDS, SWEEP_SECONDS, Limits
from gateway.web.front import LAST_SECONDS
from tests.web.peer import CANARY, CLIENT, GET, Held, Serve, World
from tests.web.transport import Peer

LIMITS = Limits()


def refused(world: World, *, room: int | None = None) -> Peer:
    peer = world.connect(room=room)
    peer.send(b"x\r\n\r\n")
    world.turn()
    return peer


def test_refused_client_that_is_silent_has_so_long_to_see_why(serve: Serve) -> None:
    world = serve()
    peer = refused(world)

    world.wait(LIMITS.linger_silence_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert (peer.is_closed, peer.is_reset) == (True, False)
    assert peer.statuses == [400]


def sent_on(world: World, peer: Peer, size: int, seconds: float) -> float:
    """Send bytes at this rate, at most for these seconds; return when the connection was closed."""
    for quarters in range(int(seconds / SWEEP_SECONDS)):
        if peer.is_closed:
            return quarters * SWEEP_SECONDS
        peer.send(bytes(int(size * SWEEP_SECONDS)))
        world.wait(SWEEP_SECONDS)
    return seconds


def test_refused_client_may_send_at_any_speed_for_a_while(serve: Serve) -> None:
    world = serve()

    ended = sent_on(world, refused(world), 4, 60)

    assert ended == LIMITS.linger_seconds + SWEEP_SECONDS


def test_refused_client_may_go_on_for_as_long_as_it_is_fast(serve: Serve) -> None:
    world = serve()

    assert sent_on(world, refused(world), int(LIMITS.linger_bytes_per_second), 300) == 300


def test_refused_client_that_becomes_slow_is_cut_off(serve: Serve) -> None:
    world = serve()
    peer = refused(world)
    rate = int(LIMITS.linger_bytes_per_second)

    assert sent_on(world, peer, rate, 40) == 40
    ended = sent_on(world, peer, rate // 2, 300)

    assert peer.is_closed
    assert 2 * 30 <= ended <= 2 * 30 + 1  # what it was ahead by


@pytest.mark.parametrize(("more", "is_closed"), [(-1, False), (0, False), (1, True)])
def test_refused_client_may_send_a_limited_amount_more(
    serve: Serve, more: int, is_closed: bool
) -> None:
    world = serve(limits=replace(LIMITS, linger_bytes=1000))
    peer = refused(world)

    for size in (500, 500 + more):
        assert not peer.is_closed
        peer.send(size * b"x")
        world.turn()

    assert peer.is_closed is is_closed
    assert peer.connection._buffer == b""


def test_linger_begins_when_the_refusal_is_written(serve: Serve) -> None:
    world = serve()
    peer = refused(world, room=10)
    world.wait(4 * LIMITS.linger_silence_seconds)
    assert not peer.is_closed

    peer.take()

    assert peer.statuses == [400]
    world.wait(LIMITS.linger_silence_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert peer.is_closed


FEW = replace(LIMITS, lingering=3, lingering_per_address=2)
OTHERS = [(f"198.51.100.{number}", 40000) for number in range(8, 12)]


def lingering(world: World, client: tuple[str, int]) -> Peer:
    peer = world.connect(client)
    peer.send(b"x\r\n\r\n")
    world.turn()
    return peer


def still_open(world: World, peers: list[Peer], seconds: float) -> list[bool]:
    world.wait(seconds)
    return [not peer.is_closed for peer in peers]


def test_few_connections_of_an_address_linger_long(serve: Serve) -> None:
    world = serve(limits=FEW)
    peers = [lingering(world, client) for client in (CLIENT, CLIENT, CLIENT, OTHERS[0])]

    assert still_open(world, peers, BRIEF_LINGER_SECONDS - SWEEP_SECONDS) == [True] * 4
    assert still_open(world, peers, SWEEP_SECONDS) == [True, True, False, True]
    assert [peer.statuses for peer in peers] == [[400]] * 4


def test_few_connections_in_all_linger_long(serve: Serve) -> None:
    world = serve(limits=FEW)
    peers = [lingering(world, client) for client in OTHERS]

    assert still_open(world, peers, BRIEF_LINGER_SECONDS) == [True, True, True, False]


def test_place_of_one_that_lingers_is_free_when_it_has_gone(serve: Serve) -> None:
    world = serve(limits=FEW)
    for peer in [lingering(world, CLIENT) for _ in range(3)]:
        peer.leave()
    world.turn()

    peers = [lingering(world, CLIENT) for _ in range(3)]

    assert still_open(world, peers, BRIEF_LINGER_SECONDS) == [True, True, False]
    assert world.front.members.lingering == {peer._protocol for peer in peers[:2]}


def test_connection_that_lingers_counts_as_one(serve: Serve) -> None:
    world = serve(limits=replace(LIMITS, connections_per_address=1))
    peer = lingering(world, CLIENT)

    assert lingering(world, CLIENT).is_aborted
    assert world.front.members.per_address == {CLIENT[0]: 1}
    peer.send_eof()
    world.turn()
    assert peer.is_closed
    assert lingering(world, CLIENT).statuses == [400]


def test_refused_client_that_takes_nothing_is_reset(serve: Serve) -> None:
    world = serve()
    peer = refused(world, room=0)

    world.wait(LIMITS.stalled_write_seconds)

    assert peer.is_reset


def test_bytes_that_waited_behind_a_closing_answer_are_dropped(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=replace(LIMITS, pipelined_bytes=5))
    peer = world.exchange(GET.replace(b"Host", b"Connection: close\r\nHost"), CANARY, CANARY)
    assert peer.is_reading_paused

    held.release()
    world.turn()

    assert not peer.is_reading_paused
    assert peer.statuses == [200]
    assert peer.is_half_closed
    assert peer.connection.progress.body_bytes == len(CANARY)


def test_linger_is_brief_when_the_process_ends(serve: Serve) -> None:
    world = serve()
    peer = refused(world)

    world.run(world.front.close_idle())
    world.wait(BRIEF_LINGER_SECONDS - LAST_SECONDS - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(2 * SWEEP_SECONDS)

    assert peer.is_closed


def test_abort_ends_a_linger(serve: Serve) -> None:
    world = serve()
    peer = refused(world)

    world.front.abort()
    world.turn()

    assert peer.is_closed
    assert world.front.members.connections == set()


def test_connection_that_was_lost_has_no_deadlines(serve: Serve) -> None:
    world = serve()
    peer = refused(world)
    (lingering_,) = world.front.members.connections
    peer.leave()
    world.turn()

    lingering_.check_deadlines(world.clock.monotonic() + 1000)

    assert not peer.is_aborted

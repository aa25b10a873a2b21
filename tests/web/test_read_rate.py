"""What lingering connections send is read at one rate, in turns."""

import pytest

from gateway.core.limits import SWEEP_SECONDS, Limits
from gateway.web.read_rate import BYTES_PER_SECOND, READ_BYTES, TURN_SECONDS
from tests.web.peer import Serve, World
from tests.web.transport import Peer

LIMITS = Limits()
PIECE = bytes(READ_BYTES)


def flooding(world: World, pieces: int) -> Peer:
    """Return a refused client that has sent this many full reads at once."""
    peer = world.connect()
    peer.send(b"x\r\n\r\n")
    world.turn()
    for _ in range(pieces):
        peer.send(PIECE)
    world.turn()
    return peer


def dropped(peer: Peer) -> int:
    return peer.connection.progress.body_bytes // READ_BYTES


@pytest.mark.parametrize("count", [1, 3])
def test_flood_is_read_at_the_rate_whatever_the_number_of_connections(
    serve: Serve, count: int
) -> None:
    world = serve()
    peers = [flooding(world, 1000) for _ in range(count)]

    world.wait(1.0)
    reads = [dropped(peer) for peer in peers]

    assert sum(reads) == pytest.approx(BYTES_PER_SECOND / READ_BYTES, abs=2 + count)
    assert max(reads) - min(reads) <= 3


def test_client_that_is_slower_never_waits(serve: Serve) -> None:
    world = serve()
    peer = flooding(world, 0)

    for _ in range(20):
        peer.send(PIECE)
        world.turn()
        assert not peer.is_reading_paused
        world.wait(TURN_SECONDS)


def test_client_that_waits_for_its_turn_is_not_silent(serve: Serve) -> None:
    world = serve()
    world.front.read_rate._call_later = lambda *_: None  # as if very many had their turn before it
    peers = [flooding(world, 1) for _ in range(5)]
    waiting = peers[-1]
    assert waiting.is_reading_paused

    world.wait(2 * LIMITS.linger_silence_seconds)

    assert not waiting.is_closed
    world.wait(LIMITS.linger_seconds)  # and yet not for longer than it may be slow
    assert waiting.is_closed


def test_turn_of_a_client_that_has_gone_is_the_next_ones(serve: Serve) -> None:
    world = serve()
    peers = [flooding(world, 3) for _ in range(3)]

    peers[0].leave()
    world.wait(10 * TURN_SECONDS + SWEEP_SECONDS)

    assert [dropped(peer) for peer in peers[1:]] == [3, 3]
    assert not world.front.read_rate._waiting


def test_clients_that_have_gone_take_no_turns(serve: Serve) -> None:
    world = serve()
    for _ in range(200):
        flooding(world, 1).leave()
    last = flooding(world, 1)
    assert last.is_reading_paused

    world.wait(3 * TURN_SECONDS)

    assert not last.is_reading_paused
    assert not world.front.read_rate._waiting

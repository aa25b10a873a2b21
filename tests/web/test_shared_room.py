"""Turns go round the connections, and a stream that is reset before its turn does not run."""

import pytest

from gateway.core.limits import SWEEP_SECONDS
from gateway.core.room import LEAST_NEED_BYTES, TURN_SECONDS
from gateway.web.shared_room import SharedRoom
from tests.web import peer
from tests.web.h2_peer import H2Client, asked, frame
from tests.web.peer import Serve


def test_stream_that_is_reset_in_the_bytes_that_it_came_in_is_not_run(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)

    client.peer.send(asked(1) + frame(3, 0, 1, b"\0\0\0\x08") + asked(3))
    world.turn()

    assert len(world.requests) == 1
    assert [status for status, _ in world.noted] == [200]


@pytest.mark.parametrize("at_once", [1, 2])
def test_turns_go_round_the_connections(serve: Serve, at_once: int) -> None:
    held = peer.Held()
    world = serve(held)
    shared = SharedRoom(at_once, world.front)
    many, few = H2Client(world, shared=shared), H2Client(world, shared=shared)
    many.share.need = few.share.need = LEAST_NEED_BYTES
    many.peer.send(asked(1, 3, 5, 7))
    world.turn()
    few.peer.send(asked(1))

    for _ in range(5):
        held.release()
        world.turn()

    asking = [request.connection_id for request in held.requests]
    first, second = many.connection.connection_id, few.connection.connection_id
    assert asking == [*[first] * (at_once + 1), second, *[first] * (3 - at_once)]


def test_stream_that_waits_too_long_for_its_turn_is_run(serve: Serve) -> None:
    held = peer.Held()
    world = serve(held)
    client = H2Client(world, shared=SharedRoom(1, world.front))
    client.share.need = LEAST_NEED_BYTES
    client.peer.send(asked(1, 3))
    world.turn()
    assert len(held.requests) == 1

    world.wait(TURN_SECONDS + SWEEP_SECONDS)

    assert len(held.requests) == 2
    held.release(), held.release()


def test_stream_that_is_reset_before_its_turn_is_not_run(serve: Serve) -> None:
    held = peer.Held()
    world = serve(held)
    client = H2Client(world, shared=SharedRoom(1, world.front))
    client.peer.send(asked(1, 3))
    world.turn()
    client.peer.send(frame(3, 0, 3, b"\0\0\0\x08"))
    held.release()
    world.turn()

    assert len(held.requests) == 1
    assert sorted(world.noted) == [(200, world.noted[-1][1]), (460, 0)]

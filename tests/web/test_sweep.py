"""The sweep over deadlines: every connection, in shares, whatever happens to one of them."""

import pytest

from gateway.core.limits import SWEEP_SECONDS, Limits
from gateway.web.sweep import SLICE_SECONDS
from tests.web.peer import Serve

LIMITS = Limits()


def test_sweep_looks_at_every_connection(serve: Serve) -> None:
    world = serve()
    peers = [world.exchange(b"G") for _ in range(5)]

    world.wait(LIMITS.head_seconds)

    assert [peer.statuses for peer in peers] == 5 * [[408]]


def test_sweep_goes_on_after_a_defect(serve: Serve) -> None:
    world = serve()
    peers = [world.exchange(b"G") for _ in range(3)]
    broken = peers[1].connection.progress
    broken.active_at, kept = None, broken.active_at  # type: ignore[assignment]

    world.wait(LIMITS.head_seconds + SWEEP_SECONDS)

    assert {type(item["exception"]) for item in world.defects} == {TypeError}
    world.defects.clear()
    broken.active_at = kept
    assert [peers[0].statuses, peers[2].statuses] == [[408], [408]]


def test_sweep_over_many_connections_gives_clients_a_turn(serve: Serve) -> None:
    world = serve()
    peers = [world.exchange(b"G") for _ in range(10)]
    world.clock.advance(LIMITS.head_seconds)
    late: list[int] = []

    def slow() -> float:
        world.clock.advance(SLICE_SECONDS / 2)
        return world.clock.monotonic()

    world.front._sweep._monotonic, kept = slow, world.clock.monotonic
    for _ in range(20):
        world.turn(1)
        late.append(sum(peer.statuses == [408] for peer in peers))
    world.front._sweep._monotonic = kept

    assert late[-1] == 10
    assert len(set(late)) > 5


def test_stopped_front_has_no_timer_left(serve: Serve) -> None:
    world = serve()

    world.front.stop()

    with pytest.raises(AssertionError, match="never wake"):
        world.loop.run_forever()

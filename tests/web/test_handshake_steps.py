"""What a connection does around its handshake, step by step, in time that a test moves."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.limits import SWEEP_SECONDS, Limits
from gateway.core.notices import TlsNegotiationFailed
from gateway.web.handshake import LEFT, TIME_OUT, Handshake, Handshakes
from tests.web.https import certificates
from tests.web.peer import CLIENT, GET, SERVER, Serve, World
from tests.web.transport import Peer

LIMITS = Limits()
HELLO = b"\x16\x03\x01\x02\x00\x01"


def connect(world: World, folder: Path, client: tuple[str, int] | None = CLIENT) -> Peer:
    """Return a client of an HTTPS listener."""
    handshakes = Handshakes(world.front, certificates(folder), make={})
    handshake = handshakes()
    names = {"peername": client, "sockname": SERVER}
    peer = Peer(world.loop, handshake, names=names)  # type: ignore[arg-type]
    world.peers.append(peer)
    handshake.connection_made(peer)
    world.turn()
    return peer


def failures(world: World) -> list[str]:
    """Return why handshakes have failed."""
    notices = world.sink.notices
    return [item.reason for item in notices if isinstance(item, TlsNegotiationFailed)]


def test_nothing_is_read_between_the_first_bytes_and_the_tls_layer(
    serve: Serve, tmp_path: Path
) -> None:
    peer = connect(serve(), tmp_path)

    assert not peer.is_reading_paused
    peer.send(HELLO)
    assert peer.is_reading_paused


def test_defect_ends_one_connection_and_is_told(serve: Serve, tmp_path: Path) -> None:
    world = serve()
    peer = connect(world, tmp_path)

    peer.send(HELLO)  # the event loop has no TLS for a transport that is not its own
    world.turn()

    assert peer.is_aborted
    assert failures(world) == ["UNKNOWN"]
    (warning,) = world.warnings
    assert "start_tls" in warning


@pytest.mark.parametrize("seconds", [1.0, LIMITS.handshake_seconds])
def test_silent_client_is_cut_off_at_the_limit(
    serve: Serve, tmp_path: Path, seconds: float
) -> None:
    world = serve(limits=replace(LIMITS, handshake_seconds=seconds))
    peer = connect(world, tmp_path)

    world.wait(seconds - SWEEP_SECONDS)
    assert not peer.is_aborted
    world.wait(SWEEP_SECONDS)
    assert peer.is_aborted
    assert failures(world) == [TIME_OUT]


def test_client_that_leaves_without_a_word_is_counted(serve: Serve, tmp_path: Path) -> None:
    world = serve()
    peer = connect(world, tmp_path)

    peer.leave()
    world.turn()

    assert failures(world) == [LEFT]
    assert world.front.members.connections == set()


def test_client_too_many_is_neither_served_nor_a_failed_handshake(
    serve: Serve, tmp_path: Path
) -> None:
    world = serve(limits=replace(LIMITS, connections=1))
    connect(world, tmp_path)
    peer = connect(world, tmp_path)

    assert peer.is_aborted
    assert failures(world) == []
    assert len(world.front.members.connections) == 1


def test_plain_http_is_refused_and_lingers(serve: Serve, tmp_path: Path) -> None:
    world = serve()
    peer = connect(world, tmp_path)

    peer.send(GET)
    peer.send(GET)
    assert peer.statuses == [400]
    assert peer.is_half_closed
    world.wait(LIMITS.linger_silence_seconds - SWEEP_SECONDS)
    assert not peer.is_aborted
    world.wait(SWEEP_SECONDS)
    assert peer.is_aborted
    assert failures(world) == ["HTTP_REQUEST"]
    assert world.noted == [(400, len(peer.received))]


def test_plain_http_client_that_takes_nothing_of_the_page_is_reset(
    serve: Serve, tmp_path: Path
) -> None:
    world = serve()
    peer = connect(world, tmp_path)
    peer.room = 10

    peer.send(GET)
    world.wait(LIMITS.stalled_write_seconds - SWEEP_SECONDS)
    assert not peer.is_aborted
    world.wait(2 * SWEEP_SECONDS)

    assert peer.is_reset


def test_abort_ends_a_handshake_without_counting_it(serve: Serve, tmp_path: Path) -> None:
    world = serve()
    peer = connect(world, tmp_path)
    (handshake,) = world.front.members.connections
    assert isinstance(handshake, Handshake)

    world.front.abort()
    world.turn()

    assert peer.is_aborted
    assert failures(world) == []


def test_client_that_had_gone_before_it_was_accepted_is_not_counted(
    serve: Serve, tmp_path: Path
) -> None:
    world = serve()
    peer = connect(world, tmp_path, client=None)

    assert peer.is_aborted
    assert world.front.members.connections == set()
    assert failures(world) == [LEFT]


def test_sweep_leaves_alone_what_has_given_way(serve: Serve, tmp_path: Path) -> None:
    world = serve()
    peer = connect(world, tmp_path)
    handshake = peer.connection
    assert isinstance(handshake, Handshake)
    handshake._end()

    handshake.check_deadlines(world.clock.monotonic() + 2 * LIMITS.handshake_seconds)

    assert not peer.is_aborted
    assert failures(world) == []

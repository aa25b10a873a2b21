"""Every deadline of an HTTP/2 connection just before and at its moment; no time really passes."""

from dataclasses import replace

import h2.events
import pytest

from gateway.core.floods import CALM_SECONDS
from gateway.core.goaway import CLOSE_SECONDS, QUIET_SECONDS
from gateway.core.limits import SWEEP_SECONDS, Limits
from tests.web.h2_peer import GET, POST, H2Client, frame
from tests.web.peer import Held, Serve, Telling

LIMITS = Limits()
ENHANCE_YOUR_CALM = 0xB
PING = frame(6, 0, 0, bytes(8))


@pytest.mark.parametrize("requests", [0, 1])
def test_idle_connection_is_closed_with_goaway_whatever_it_pings(
    serve: Serve, requests: int
) -> None:
    world = serve()
    client = H2Client(world)
    for _ in range(requests):
        client.ask()
    for _ in range(int(LIMITS.idle_seconds) - 1):
        world.wait(1)
        client.raw(PING)
    assert not client.peer.is_closed

    world.wait(1)
    client.read()

    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)
    assert client.goaways == [(0, requests)]


def test_function_may_take_longer_than_the_idle_time(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    stream = client.ask()

    world.wait(10 * LIMITS.idle_seconds)
    held.release()
    client.read()

    assert client.status(stream) == 200


@pytest.mark.parametrize("ends", [frame(1, 0, 1, b"\x82"), frame(1, 4, 1, b"\x82\x87")[:-1]])
def test_head_that_does_not_end_ends_the_connection(serve: Serve, ends: bytes) -> None:
    world = serve()
    client = H2Client(world)
    client.raw(ends)

    world.wait(LIMITS.head_seconds - SWEEP_SECONDS)
    assert not client.peer.is_closed
    world.wait(SWEEP_SECONDS)
    client.read()

    assert client.goaways == [(ENHANCE_YOUR_CALM, 0)]
    assert client.peer.is_closed


def test_head_after_head_is_not_one_long_head(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    whole = frame(1, 5, 1, client.codec.encoder.encode(GET))
    rest = b""
    for index in range(30):
        following = whole[:5] + (1 + 2 * index).to_bytes(4, "big") + whole[9:]
        client.peer.send(rest + following[:-1])
        rest = following[-1:]
        world.wait(1)

    assert len(world.requests) == 29
    assert not client.peer.is_closed


@pytest.mark.parametrize("piece", [b"", b"x" * 100])
def test_slow_body_is_a_time_out_on_its_stream(serve: Serve, piece: bytes) -> None:
    world = serve()
    client = H2Client(world)
    stream = client.ask(POST, b"x", ends=False)
    for _ in range(120):
        if client.of(h2.events.ResponseReceived, stream):
            break
        world.wait(1)
        client.read()
        if piece:
            client.send(stream, piece, ends=False)

    assert client.status(stream) == 408
    assert client.status(client.ask()) == 200
    assert client.room.total == 0
    assert (world.requests[0].method, len(world.requests)) == ("GET", 1)


def test_body_at_its_least_speed_is_read(serve: Serve) -> None:
    world = serve(limits=replace(LIMITS, body_grace_seconds=1))
    client = H2Client(world)
    stream = client.ask(POST, b"x", ends=False)
    for _ in range(100):
        world.wait(1)
        client.send(stream, bytes(int(LIMITS.body_bytes_per_second)), ends=False)
    client.send(stream, b"x")

    assert client.status(stream) == 200


@pytest.mark.parametrize("way", ["window", "socket"])
def test_client_that_takes_nothing_is_cut_off(serve: Serve, way: str) -> None:
    world = serve(Telling(100_000))
    client = H2Client(world, window=0 if way == "window" else 2**20)
    if way == "socket":
        client.peer.room = 10
    client.ask()

    world.wait(LIMITS.stalled_write_seconds - SWEEP_SECONDS)
    assert not client.peer.is_closed
    world.wait(2 * SWEEP_SECONDS)

    assert client.peer.is_reset
    assert world.noted[0][0] == 460
    assert client.room.total == 0


@pytest.mark.parametrize("way", ["window", "socket"])
def test_client_that_takes_a_little_is_not(serve: Serve, way: str) -> None:
    world = serve(Telling(100_000))
    client = H2Client(world, window=0 if way == "window" else 2**20)
    if way == "socket":
        client.peer.room = 10
    stream = client.ask()
    for _ in range(5):
        world.wait(LIMITS.stalled_write_seconds - 1)
        if way == "window":
            client.take(1, stream)
        else:
            client.peer.take(1)

    assert not client.peer.is_closed
    client.peer.take()
    client.take(2**20, stream)
    assert len(client.body(stream)) == 100_000


def test_calm_connection_that_does_not_read_its_goaway_is_cut_off(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    client.peer.room = 0
    client.raw(PING * 2000)
    assert not client.peer.is_closed

    world.wait(CALM_SECONDS + SWEEP_SECONDS)

    assert client.peer.is_reset


def test_what_comes_after_the_end_is_dropped(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    client.peer.room = 0
    client.raw(PING * 2000)

    client.connection.data_received(frame(1, 5, 1, client.codec.encoder.encode(GET)))
    world.turn()

    assert world.requests == []


def test_response_is_taken_to_its_end_before_the_connection_closes(serve: Serve) -> None:
    world = serve(Telling(50_000))
    client = H2Client(world)
    client.peer.room = 100
    stream = client.ask()
    world.front._is_draining = True
    for _ in range(20):
        world.wait(1)
        client.peer.take(1)
    assert not client.peer._is_closing

    client.peer.take()
    world.wait(QUIET_SECONDS + CLOSE_SECONDS + 2 * SWEEP_SECONDS)
    client.read()

    assert len(client.body(stream)) == 50_000
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)

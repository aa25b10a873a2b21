"""Floods end their connection with ENHANCE_YOUR_CALM, and what is just below them does not."""

from collections.abc import Callable

import pytest

from gateway.core.floods import (
    HELD_BYTES,
    HELD_BYTES_IN_ALL,
    IDLE_FRAMES,
    PROGRESS_BYTES,
    QUICK_RESETS,
    Held,
)
from gateway.core.limits import SWEEP_SECONDS
from tests.web import peer
from tests.web.h2_peer import POST, H2Client, frame
from tests.web.peer import Serve, Telling, World

ENHANCE_YOUR_CALM, CANCEL = 0xB, 8

MOST = HELD_BYTES // 2**20
"""Responses of a megabyte that are held."""

IDLE = {
    "ping": frame(6, 0, 0, bytes(8)),
    "ping-acknowledged": frame(6, 1, 0, bytes(8)),
    "settings": frame(4, 0, 0),
    "settings-large": frame(4, 0, 0, b"\0\4\0\0\1\0" * 100),
    "window-update": frame(8, 0, 0, b"\0\0\0\1"),
    "priority": frame(2, 0, 1, b"\0\0\0\0\1"),
    "unknown": frame(0xEE, 0, 0, b"abc"),
    "data-empty": frame(0, 0, 1),
    "data-tiny": frame(0, 0, 1, b"a"),
    "data-padding": frame(0, 8, 1, b"\5" + bytes(5)),
    "data-much-padding": frame(0, 8, 1, b"\xff" + bytes(255)),
}


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize("kind", IDLE)
def test_frames_without_progress_are_limited(serve: Serve, kind: str, over: int) -> None:
    world = serve()
    client = H2Client(world)
    client.ask(POST, b"x" * 300, ends=False)
    world.wait(10)
    client.read()

    client.raw(IDLE[kind] * (IDLE_FRAMES + over))

    if over > 0:
        assert client.goaways == [(ENHANCE_YOUR_CALM, 1)]
        assert client.peer.is_closed
    else:
        assert (client.goaways, client.peer.is_closed) == ([], False)


@pytest.mark.slow
def test_small_windows_are_paid_for_by_what_is_sent(serve: Serve) -> None:
    client = H2Client(serve(Telling(2**20)), window=0)
    client.codec.increment_flow_control_window(2**30)
    stream = client.ask()
    for _ in range(2**20 // PROGRESS_BYTES):
        client.codec.increment_flow_control_window(PROGRESS_BYTES, stream)
        client.flush()

    assert 2**20 // PROGRESS_BYTES > IDLE_FRAMES
    assert len(client.body(stream)) == 2**20


def reset_at_once(client: H2Client) -> None:
    client.codec.reset_stream(client.ask(POST, b"x", ends=False), CANCEL)
    client.flush()


def reset_by_zttp(client: H2Client) -> None:
    """Made-you-reset: a window update of nothing is a stream error."""
    stream = client.ask(POST, b"x", ends=False)
    client.raw(frame(8, 0, stream, bytes(4)))


def reset_malformed(client: H2Client) -> None:
    client.ask([*POST, ("connection", "close")])


@pytest.mark.parametrize("reset", [reset_at_once, reset_by_zttp, reset_malformed])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_resets_of_either_side_are_limited(
    serve: Serve, reset: Callable[[H2Client], None], over: int
) -> None:
    client = H2Client(serve())

    for _ in range(QUICK_RESETS + over):
        reset(client)

    assert client.peer.is_closed is (over > 0)
    assert [code for code, _ in client.goaways] == [ENHANCE_YOUR_CALM] * (over > 0)


def test_requests_that_were_begun_and_reset_are_noted(serve: Serve) -> None:
    held = peer.Held()
    world = serve(held)
    client = H2Client(world)
    for _ in range(QUICK_RESETS):
        client.codec.reset_stream(client.ask(), CANCEL)
        client.flush()
    client.ask()  # refused, because so many run: a reset too
    assert client.peer.is_closed
    assert client.connection in world.front._connections

    for _ in held.requests:
        held.release()
    world.turn()

    assert len(held.requests) == QUICK_RESETS
    assert len(world.noted) == QUICK_RESETS


@pytest.mark.parametrize("count", [1, 20])
def test_continuations_end_the_connection(serve: Serve, count: int) -> None:
    client = H2Client(serve())
    client.raw(frame(1, 1, 1, client.codec.encoder.encode(POST)))

    client.raw(frame(9, 0, 1) * count)

    assert client.peer.is_closed is (count > 16)
    assert [code for code, _ in client.goaways] == [ENHANCE_YOUR_CALM] * (count > 16)


def filled(world: World, count: int, size: int) -> H2Client:
    """A client that asks for so many responses and takes nothing."""
    client = H2Client(world, window=0)
    for _ in range(count):
        client.ask()
    assert client.held.total <= HELD_BYTES
    assert client.held.total >= HELD_BYTES - size
    return client


def test_responses_that_nobody_takes_are_held_up_to_a_cap(serve: Serve) -> None:
    world = serve(Telling(2**20))
    client = filled(world, MOST + 4, 2**20)

    at_the_cap = (1, 2 * MOST - 1, 2 * MOST + 1)
    assert [client.reset(stream) for stream in at_the_cap] == [None, None, ENHANCE_YOUR_CALM]
    assert not client.peer.is_closed
    world.wait(1 + SWEEP_SECONDS)
    client.read()

    assert [code for code, _ in client.goaways] == [ENHANCE_YOUR_CALM]
    assert client.peer.is_closed
    assert client.held.total == 0


def test_client_over_the_cap_that_takes_something_stays(serve: Serve) -> None:
    world = serve(Telling(2**20))
    client = filled(world, MOST + 4, 2**20)
    for _ in range(10):
        world.wait(0.5)
        client.take(100, *range(1, 2 * MOST, 2))

    assert not client.peer.is_closed
    assert client.held.total < HELD_BYTES


def test_bodies_that_do_not_end_are_held_up_to_a_cap(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    bodies = [client.ask(POST, bytes(10**6), ends=False) for _ in range(MOST + 1)]
    assert client.held.total == (MOST + 1) * 10**6

    last = client.codec.get_next_available_stream_id()
    client.codec.send_headers(last, POST)
    client.flush()
    while client.reset(last) is None:
        client.send(last, bytes(10_000), ends=False)

    assert [client.reset(stream) for stream in (*bodies, last)] == [None] * (MOST + 1) + [
        ENHANCE_YOUR_CALM
    ]
    assert client.held.total == (MOST + 1) * 10**6


def test_cap_of_all_connections_is_shared(serve: Serve) -> None:
    world = serve(Telling(100_000))
    client = H2Client(world, window=0)
    held: Held = client.held
    held.total = 128 * 2**20 - 50_000

    stream = client.ask()

    assert client.reset(stream) == ENHANCE_YOUR_CALM
    assert held.total == 128 * 2**20 - 50_000


HOGS = HELD_BYTES_IN_ALL // (MOST * 2**20)
"""Connections that hold as much as they may; what is left is less than one may hold."""


def test_connections_that_hold_all_that_may_be_stop_nobody_else(serve: Serve) -> None:
    world = serve(Telling(2**20))
    held = Held()
    hogs = [H2Client(world, window=0, held=held) for _ in range(HOGS + 1)]
    for hog in hogs:
        while hog.connection.held_bytes < MOST * 2**20 and held.total < HELD_BYTES_IN_ALL:
            hog.ask()
    assert held.total == HELD_BYTES_IN_ALL

    client = H2Client(world, window=2**21, held=held)
    client.codec.increment_flow_control_window(2**21)
    streams = [client.ask(), client.ask()]
    for hog in hogs:
        hog.read()

    assert [len(client.body(stream)) for stream in streams] == [2**20] * 2
    (evicted,) = [hog for hog in hogs if hog.goaways]
    assert [code for code, _ in evicted.goaways] == [ENHANCE_YOUR_CALM]
    assert evicted.peer.is_closed
    assert evicted.connection.held_bytes == 0
    assert held.total == HELD_BYTES_IN_ALL - MOST * 2**20


def test_connection_that_holds_most_makes_no_room_for_itself(serve: Serve) -> None:
    world = serve(Telling(100_000))
    held = Held()
    small, hog = (H2Client(world, window=0, held=held) for _ in range(2))
    small.ask(), hog.ask(), hog.ask()
    held.total += HELD_BYTES_IN_ALL - 300_000

    refused = hog.ask()

    assert hog.reset(refused) == ENHANCE_YOUR_CALM
    assert [client.peer.is_closed for client in (small, hog)] == [False, False]
    held_bytes = [client.connection.held_bytes for client in (small, hog)]
    assert held_bytes == [100_000, 200_000]


def test_connection_that_is_lost_is_no_longer_held_for(serve: Serve) -> None:
    world = serve(Telling(1000))
    client = H2Client(world, window=0)
    client.ask()
    assert client.held.holders == {client.connection}
    assert client.connection.held_bytes == 1000

    client.peer.leave()
    world.turn()

    assert (client.held.holders, client.held.total) == (set(), 0)

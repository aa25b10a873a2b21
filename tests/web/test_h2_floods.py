"""Floods end their connection with ENHANCE_YOUR_CALM, and what is just below them does not."""

from collections.abc import Callable

import pytest

from gateway.core.floods import (
    FIELDS_PER_FRAME,
    IDLE_FRAMES,
    PROGRESS_BYTES,
    QUICK_RESETS,
    REQUEST_FRAMES,
)
from gateway.core.limits import Limits
from tests.web import peer
from tests.web.h2_peer import GET, POST, H2Client, frame
from tests.web.peer import Serve, Telling

ENHANCE_YOUR_CALM, CANCEL, FLOW_CONTROL_ERROR = 0xB, 8, 3

LIMITS = Limits()


IDLE = {
    "ping": frame(6, 0, 0, bytes(8)),
    "ping-acknowledged": frame(6, 1, 0, bytes(8)),
    "settings": frame(4, 0, 0),
    "settings-large": frame(4, 0, 0, b"\0\4\0\0\1\0" * 32),
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
    stream = client.ask(POST, b"x", ends=False)
    if not client.peer.is_closed:
        client.codec.reset_stream(stream, CANCEL)
        client.flush()


def reset_by_nghttp2(client: H2Client) -> None:
    """Made-you-reset: a body of another length than declared is a stream error."""
    client.ask([*POST, ("content-length", "5")], b"x")


def reset_malformed(client: H2Client) -> None:
    client.ask([*POST, ("connection", "close")])


@pytest.mark.parametrize("reset", [reset_at_once, reset_by_nghttp2, reset_malformed])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_resets_of_either_side_are_limited(
    serve: Serve, reset: Callable[[H2Client], None], over: int
) -> None:
    client = H2Client(serve())

    for _ in range(QUICK_RESETS + over):
        reset(client)

    assert client.peer.is_closed is (over > 0)
    assert [code for code, _ in client.goaways if code] == [ENHANCE_YOUR_CALM] * (over > 0)


def test_requests_that_were_begun_and_reset_are_noted(serve: Serve) -> None:
    held = peer.Held()
    world = serve(held)
    client = H2Client(world)
    client.share.need = 1
    for _ in range(QUICK_RESETS):
        client.codec.reset_stream(client.ask(), CANCEL)
        client.flush()
    client.ask()  # refused, because too many run: a reset too
    assert client.peer.is_closed
    assert client.connection in world.front.members.connections

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


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_heads_with_many_fields_are_limited(serve: Serve, over: int) -> None:
    """A head pays for some frames, as all do."""
    client = H2Client(serve())
    fields = 1000
    heads = IDLE_FRAMES // (fields // FIELDS_PER_FRAME - REQUEST_FRAMES)
    block = client.codec.encoder.encode([*GET, ("x", "y")]) + b"\xbe" * (fields - len(GET) - 1)

    for index in range(heads + over):
        client.peer.send(frame(1, 5, 1 + 2 * index, block))
        client.world.turn()

    assert client.peer.is_closed is (over > 0)
    assert client.peer.received.endswith(b"\0\0\0\x0b") is (over > 0)


# Addresses


@pytest.mark.parametrize("over", [-1, 0])
def test_address_that_floods_is_refused_for_a_while(serve: Serve, over: int) -> None:
    world = serve(limits=LIMITS)
    for _ in range(LIMITS.calmed_connections + over):
        H2Client(world).raw(IDLE["ping"] * (IDLE_FRAMES + 1))

    assert H2Client(world).peer.is_aborted is (over == 0)
    world.wait(LIMITS.refused_seconds)
    assert not H2Client(world).peer.is_aborted


def test_floods_that_the_parser_ends_count_too(serve: Serve) -> None:
    world = serve(limits=LIMITS)
    for _ in range(LIMITS.calmed_connections):
        client = H2Client(world)
        client.raw(frame(1, 1, 1, client.codec.encoder.encode(POST)) + frame(9, 0, 1) * 20)

    assert H2Client(world).peer.is_aborted


def test_broken_protocol_does_not_count_as_a_flood(serve: Serve) -> None:
    world = serve(limits=LIMITS)
    for _ in range(2 * LIMITS.calmed_connections):
        H2Client(world).raw(frame(8, 0, 0, bytes(4)))

    assert not H2Client(world).peer.is_aborted

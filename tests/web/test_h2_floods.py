"""Floods end their connection with ENHANCE_YOUR_CALM, and what is just below them does not."""

from collections import Counter
from collections.abc import Callable

import h2.settings
import hpack
import pytest

from gateway.core.floods import (
    CALM_SECONDS,
    CONCURRENT_STREAMS,
    FIELDS_PER_FRAME,
    IDLE_FRAMES,
    PROGRESS_BYTES,
    QUICK_RESETS,
    REQUEST_FRAMES,
)
from gateway.core.limits import SWEEP_SECONDS, Limits
from gateway.core.room import (
    ADDRESS_BYTES,
    CONNECTION_BYTES,
    FIRST_NEED_BYTES,
    LEAST_NEED_BYTES,
    OVERFLOW_BYTES,
    ROOM_BYTES,
    TURN_SECONDS,
    Claim,
)
from gateway.web.h2_turns import SharedRoom
from tests.web import peer
from tests.web.h2_peer import GET, POST, H2Client, frame, head
from tests.web.peer import Serve, Telling

ENHANCE_YOUR_CALM, CANCEL, FLOW_CONTROL_ERROR = 0xB, 8, 3

LIMITS = Limits()

BLOCK = hpack.Encoder().encode(GET)

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
    stream = client.ask(POST, b"x", ends=False)
    if not client.peer.is_closed:
        client.codec.reset_stream(stream, CANCEL)
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
    assert [code for code, _ in client.goaways if code] == [ENHANCE_YOUR_CALM] * (over > 0)


def test_requests_that_were_begun_and_reset_are_noted(serve: Serve) -> None:
    held = peer.Held()
    world = serve(held)
    client = H2Client(world)
    client.room.need = 1
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


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_heads_with_many_fields_are_limited(serve: Serve, over: int) -> None:
    """A head pays for some frames, as all do."""
    client = H2Client(serve())
    fields = 1000
    heads = IDLE_FRAMES // (fields // FIELDS_PER_FRAME - REQUEST_FRAMES)
    block = client.codec.encoder.encode([*GET, ("x", "y")]) + b"\xbe" * (fields - 2)

    for index in range(heads + over):
        client.peer.send(frame(1, 5, 1 + 2 * index, block))
        client.world.turn()

    assert client.peer.is_closed is (over > 0)
    assert client.peer.received.endswith(b"\0\0\0\x0b") is (over > 0)


# Turns


def asked(*ids: int) -> bytes:
    return b"".join(frame(1, 5, at, BLOCK) for at in ids)


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
    shared.room.need = LEAST_NEED_BYTES
    many, few = H2Client(world, shared=shared), H2Client(world, shared=shared)
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
    client.room.need = LEAST_NEED_BYTES
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


# Room


def written(client: H2Client) -> Counter[int]:
    """How many bytes of bodies the gateway has written, by stream; the codec would take minutes."""
    data, at, found = client.peer.received, 0, Counter[int]()
    while at < len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        found[int.from_bytes(data[at + 5 : at + 9], "big")] += size if data[at + 3] == 0 else 0
        at += 9 + size
    return +found


def test_streams_without_room_wait_and_none_is_lost(serve: Serve) -> None:
    telling = Telling(2**20)
    world = serve(telling)
    client = H2Client(world, window=0)
    streams = [client.ask() for _ in range(12)]
    assert len(telling.requests) == CONNECTION_BYTES // 2**20
    assert client.room.total == CONNECTION_BYTES

    client.codec.increment_flow_control_window(2**30)
    client.codec.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**22})
    client.peer.send(client.codec.data_to_send())
    world.turn(100)

    assert written(client) == dict.fromkeys(streams, 2**20)
    assert client.room.total == 0


def test_replies_of_unknown_size_are_never_many_at_once(serve: Serve) -> None:
    held = peer.Held()
    world = serve(held)
    client = H2Client(world)
    client.peer.send(asked(*range(1, 200, 2)))
    world.turn()

    assert len(held.requests) == CONNECTION_BYTES // FIRST_NEED_BYTES
    for _ in range(100):
        held.release()
        world.turn()
    assert len(held.requests) == 100


def test_small_replies_let_many_run(serve: Serve) -> None:
    held = peer.Held()
    world = serve(held)
    client = H2Client(world)
    for _ in range(60):
        client.ask()
        held.release()
        client.read()

    client.peer.send(asked(*range(1001, 1257, 2)))
    world.turn()

    assert len(held.requests) == 60 + CONCURRENT_STREAMS
    while held._waiting:
        held.release()


def test_client_that_takes_nothing_and_asks_for_more_is_closed(serve: Serve) -> None:
    world = serve(Telling(2**20))
    client = H2Client(world, window=0)
    for _ in range(CONNECTION_BYTES // 2**20 + 1):
        client.ask()
    world.wait(CALM_SECONDS - SWEEP_SECONDS)
    assert not client.peer.is_closed

    world.wait(2 * SWEEP_SECONDS)
    client.read()

    assert [code for code, _ in client.goaways] == [ENHANCE_YOUR_CALM]
    assert (client.peer.is_closed, client.room.total) == (True, 0)


def test_client_that_took_something_may_pause(serve: Serve) -> None:
    world = serve(Telling(2**20))
    client = H2Client(world, window=100)
    for _ in range(10):
        client.ask()

    world.wait(30)

    assert not client.peer.is_closed


def test_client_that_pauses_while_others_have_no_room_is_closed(serve: Serve) -> None:
    world = serve(Telling(2**20))
    shared = SharedRoom(1000, world.front)
    stalled = [
        H2Client(world, window=1, shared=shared) for _ in range(ADDRESS_BYTES // CONNECTION_BYTES)
    ]
    for client in stalled:
        for _ in range(CONNECTION_BYTES // 2**20):
            client.ask()
    shared.room.total += ROOM_BYTES // 2  # of other addresses
    other = H2Client(world, window=1, shared=shared)
    other.ask(), other.ask()

    world.wait(CALM_SECONDS + SWEEP_SECONDS)

    assert any(client.peer.is_closed for client in stalled)
    assert not other.peer.is_closed


def test_replies_above_what_was_reserved_close_the_largest_holder(serve: Serve) -> None:
    world = serve(Telling(2**20))
    shared = SharedRoom(1000, world.front)
    clients = [H2Client(world, window=0, shared=shared) for _ in range(3)]
    shared.room.need = LEAST_NEED_BYTES
    for client, count in zip(clients, (14, 24, 11), strict=True):
        client.connection._share.address = str(count)
        client.peer.send(asked(*range(1, 2 * count, 2)))
    world.turn()

    assert [client.peer.is_closed for client in clients] == [False, True, False]
    assert clients[1].peer.received.endswith(b"\0\0\0\x0b")
    assert shared.room.total == 25 * 2**20


def test_connection_that_is_lost_is_no_longer_held_for(serve: Serve) -> None:
    world = serve(Telling(1000))
    client = H2Client(world, window=0)
    client.ask()
    assert (len(client.room.shares), client.room.total) == (1, 1000)

    client.peer.leave()
    world.turn()

    assert (client.room.shares, client.room.total) == (set(), 0)


# Bodies


def test_bodies_without_room_get_no_windows_and_all_arrive(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    bodies = {client.ask(POST, b"x", ends=False): 400_000 for _ in range(20)}
    most, rounds = 0, 0
    while bodies and rounds < 10_000:
        rounds += 1
        for stream, left in list(bodies.items()):
            size = min(16_384, left, client.codec.local_flow_control_window(stream))
            if size:
                client.codec.send_data(stream, bytes(size), end_stream=size == left)
                client.flush()
                bodies[stream] -= size
            most = max(most, client.room.total)
            if not bodies[stream]:
                del bodies[stream]
    world.turn()

    assert [len(request.body) for request in world.requests] == [400_001] * 20
    assert most < CONNECTION_BYTES // 2 + 20 * 65_536
    assert (client.room.total, client.goaways) == (0, [])


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_body_that_ignores_its_window_is_reset(serve: Serve, over: int) -> None:
    client = H2Client(serve())
    client.room.reply(Claim(client.connection._share), CONNECTION_BYTES)
    stream = client.ask(POST, bytes(65_000), ends=False)

    client.raw(frame(0, 0, stream, bytes(535 + over)))

    assert client.reset(stream) == (FLOW_CONTROL_ERROR if over > 0 else None)


def test_time_in_which_a_body_may_not_come_does_not_count(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    full = Claim(client.connection._share)
    client.room.reply(full, CONNECTION_BYTES)
    stream = client.ask(POST, bytes(65_535), ends=False)
    assert client.codec.local_flow_control_window(stream) == 0

    world.wait(60)
    client.read()
    client.room.forget(full)
    world.wait(1)
    client.read()
    client.send(stream, bytes(65_535))

    assert client.status(stream) == 200


def test_bodies_that_do_not_end_close_the_connection_that_sent_most(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    shared = client.shared
    other = H2Client(world, shared=shared)
    other.ask(POST, bytes(1000), ends=False)
    shared.room.total += OVERFLOW_BYTES - 1000 - 3 * 16_384

    client.ask(head(("content-length", "65000"), of=POST), bytes(4 * 16_384 - 600), ends=False)
    client.read()

    assert [code for code, _ in client.goaways] == [ENHANCE_YOUR_CALM]
    assert not other.peer.is_closed


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


def test_broken_protocol_is_no_flood(serve: Serve) -> None:
    world = serve(limits=LIMITS)
    for _ in range(2 * LIMITS.calmed_connections):
        H2Client(world).raw(frame(8, 0, 0, bytes(4)))

    assert not H2Client(world).peer.is_aborted

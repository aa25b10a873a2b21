"""Streams wait for room and none is lost; a client that takes nothing, or too much, is closed."""

from collections import Counter

import h2.settings
import pytest

from gateway.core.floods import CALM_SECONDS, CONCURRENT_STREAMS
from gateway.core.limits import SWEEP_SECONDS, Limits
from gateway.core.room import (
    ADDRESS_PART,
    CONNECTION_PART,
    FIRST_NEED_BYTES,
    LEAST_NEED_BYTES,
    OVERFLOW_FACTOR,
    ROOM_BYTES,
)
from gateway.core.turns import Claim
from gateway.web.shared_room import SharedRoom
from tests.web import peer
from tests.web.h2_peer import GET, POST, H2Client, asked, frame, head
from tests.web.peer import Serve, Telling

CONNECTION_BYTES = ROOM_BYTES // CONNECTION_PART
ADDRESS_BYTES = ROOM_BYTES // ADDRESS_PART
OVERFLOW_BYTES = int(ROOM_BYTES * OVERFLOW_FACTOR)

ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR = 0xB, 3


def written(client: H2Client) -> Counter[int]:
    """How many bytes of bodies the gateway has written, by stream; the codec would take minutes."""
    data, at, found = client.peer.received, 0, Counter[int]()
    while at < len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        found[int.from_bytes(data[at + 5 : at + 9], "big")] += size if data[at + 3] == 0 else 0
        at += 9 + size
    return +found


def heads(client: H2Client) -> int:
    """What the heads of a connection's open streams count for."""
    return sum(stream.claim.heads for stream in client.connection._streams._open.values())


def test_streams_without_room_wait_and_none_is_lost(serve: Serve) -> None:
    telling = Telling(2**20)
    world = serve(telling)
    client = H2Client(world, window=0)
    streams = [client.ask() for _ in range(12)]
    assert len(telling.requests) == CONNECTION_BYTES // 2**20
    assert client.room.total == CONNECTION_BYTES + heads(client)

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
    while held.waiting:
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
    for client, count in zip(clients, (14, 24, 11), strict=True):
        client.share.address = str(count)
        client.share.need = LEAST_NEED_BYTES
        client.peer.send(asked(*range(1, 2 * count, 2)))
    world.turn()

    assert [client.peer.is_closed for client in clients] == [False, True, False]
    assert clients[1].peer.received.endswith(b"\0\0\0\x0b")
    assert shared.room.total == 25 * 2**20 + sum(map(heads, clients))


def test_connection_that_is_lost_is_no_longer_held_for(serve: Serve) -> None:
    world = serve(Telling(1000))
    client = H2Client(world, window=0)
    client.ask()
    assert (len(client.room.shares), client.room.total) == (1, 1000 + heads(client))

    client.peer.leave()
    world.turn()

    assert (client.room.shares, client.room.total) == (set(), 0)


def test_what_is_left_of_replies_holds_no_more_than_is_counted(serve: Serve) -> None:
    world = serve(Telling(2**20))
    client = H2Client(world, window=2**20 - 1)
    client.peer.send(frame(8, 0, 0, (2**30).to_bytes(4, "big")))
    client.peer.send(asked(*range(1, 41, 2)))
    world.turn(100)
    streams = client.connection._streams._open.values()

    held = sum(len(stream.unsent.obj) for stream in streams)  # type: ignore[union-attr]
    assert (len(streams), held) == (20, 20)
    assert client.room.total == held + heads(client)
    assert not any(stream.response.body for stream in streams)


def test_heads_that_wait_close_the_largest_holder(serve: Serve) -> None:
    world = serve(peer.Held())
    shared = SharedRoom(1000, world.front)
    clients = [H2Client(world, shared=shared) for _ in range(8)]
    for client in clients:
        block = client.codec.encoder.encode([*GET, ("x", 3900 * "y")]) + b"\xbe" * 14
        client.peer.send(b"".join(frame(1, 5, at, block) for at in range(1, 255, 2)))
        world.turn()

    assert OVERFLOW_BYTES // 2 < shared.room.total - shared.room.lost <= OVERFLOW_BYTES
    assert any(client.peer.received.endswith(b"\0\0\0\x0b") for client in clients)
    assert not clients[-1].peer.is_closed


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
def test_body_that_ignores_its_window_ends_the_connection(serve: Serve, over: int) -> None:
    client = H2Client(serve())
    client.room.reply(Claim(client.share), CONNECTION_BYTES)
    stream = client.ask(POST, bytes(65_000), ends=False)

    client.raw(frame(0, 0, stream, bytes(535 + over)))

    assert [code for code, _ in client.goaways] == [FLOW_CONTROL_ERROR] * (over > 0)
    assert client.peer.is_closed is (over > 0)


def test_time_in_which_a_body_may_not_come_does_not_count(serve: Serve) -> None:
    world = serve(limits=Limits(room_seconds=100))
    client = H2Client(world)
    full = Claim(client.share)
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


@pytest.mark.parametrize(("seconds", "status"), [(29.75, None), (30, 503), (30.25, 503)])
def test_body_that_waits_too_long_is_refused(
    serve: Serve, seconds: float, status: int | None
) -> None:
    world = serve()
    client = H2Client(world)
    client.room.reply(Claim(client.share), CONNECTION_BYTES)
    stream = client.ask(POST, bytes(65_535), ends=False)

    world.wait(seconds)
    client.read()

    assert (client.status(stream) if status else client.reset(stream)) == status


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

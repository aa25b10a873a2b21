"""GOAWAY: when it is said, what is answered behind it, and when the connection closes."""

from dataclasses import replace

import pytest

from gateway.core.floods import CONCURRENT_STREAMS, IDLE_FRAMES
from gateway.core.goaway import CLOSE_SECONDS, LAST_SECONDS, QUIET_SECONDS
from gateway.core.limits import STOP_PAUSE_SECONDS, SWEEP_SECONDS, UPLOAD_SECONDS, Limits
from gateway.web.front import LAST_SECONDS as STOP_SECONDS
from tests.web.h2_peer import BLOCK, POST, H2Client, asked, frame, statuses
from tests.web.peer import Held, Serve, World

LIMITS = Limits()
ENHANCE_YOUR_CALM = 0xB
ANY_STREAM = 2**31 - 1


def announced(serve: Serve, responder: Held | None = None) -> tuple[World, H2Client]:
    """A client that was told the first GOAWAY, because its front drains."""
    world = serve(responder)
    client = H2Client(world)
    world.front._is_draining = True
    world.wait(SWEEP_SECONDS)
    client.read()
    assert client.goaways == [(0, ANY_STREAM)]
    return world, client


def test_goaway_has_two_steps(serve: Serve) -> None:
    world, client = announced(serve)

    on_its_way = client.ask()
    world.wait(QUIET_SECONDS - SWEEP_SECONDS)
    late = client.ask()
    assert statuses(client, [on_its_way, late]) == [200] * 2
    assert client.goaways == [(0, ANY_STREAM)]

    world.wait(QUIET_SECONDS + SWEEP_SECONDS)
    client.read()
    assert client.goaways == [(0, ANY_STREAM), (0, late)]
    assert not client.peer.is_closed
    world.wait(CLOSE_SECONDS + SWEEP_SECONDS)
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)


@pytest.mark.slow
def test_connection_may_have_any_number_of_requests(serve: Serve) -> None:
    """Node, Java and httpx lose requests at a GOAWAY that comes while they work."""
    world = serve()
    client = H2Client(world)
    client.codec.increment_flow_control_window(2**30)
    client.flush()

    for index in range(10_001):
        client.peer.send(asked(1 + 2 * index))
        world.turn()

    assert len(world.requests) == 10_001
    assert not client.peer.is_closed
    assert 7 not in {kind for kind, _, _, _ in frames(client.peer.received)}


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The frames that a gateway has sent: type, flags, stream and payload."""
    found, at = [], 0
    while at < len(data):
        end = at + 9 + int.from_bytes(data[at : at + 3], "big")
        stream = int.from_bytes(data[at + 5 : at + 9], "big")
        found.append((data[at + 3], data[at + 4], stream, data[at + 9 : end]))
        at = end
    return found


def test_last_stream_is_not_named_while_one_is_open(serve: Serve) -> None:
    held = Held()
    world, client = announced(serve, held)
    stream = client.ask()

    world.wait(10 * QUIET_SECONDS)
    client.read()
    assert client.goaways == [(0, ANY_STREAM)]

    held.release()
    client.read()
    world.wait(QUIET_SECONDS + CLOSE_SECONDS + 2 * SWEEP_SECONDS)
    client.read()
    assert (client.status(stream), client.goaways[1:]) == (200, [(0, stream)])
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)


def test_client_that_ignores_the_first_goaway_is_told_the_second(serve: Serve) -> None:
    world, client = announced(serve)
    for _ in range(int(LAST_SECONDS)):
        last = client.ask()
        world.wait(1)
    client.read()
    assert client.goaways == [(0, ANY_STREAM), (0, last)]

    client.ask()
    world.wait(CLOSE_SECONDS + SWEEP_SECONDS)

    assert len(world.requests) == LAST_SECONDS
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)


def test_full_set_of_streams_on_its_way_at_goaway_does_no_harm(serve: Serve) -> None:
    """A client may send them again: they are behind the last stream (RFC 9113 section 8.7)."""
    held = Held()
    world, client = announced(serve, held)
    stream = client.ask()
    world.wait(LAST_SECONDS)
    client.read()
    assert client.goaways[1:] == [(0, stream)]

    client.peer.send(asked(*range(stream + 2, stream + 2 + 2 * CONCURRENT_STREAMS, 2)))
    world.turn()
    held.release()
    client.read()

    assert (client.status(stream), len(held.requests)) == (200, 1)
    assert not client.peer.is_closed
    world.wait(CLOSE_SECONDS + SWEEP_SECONDS)
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_streams_behind_the_last_one_are_a_flood(serve: Serve, over: int) -> None:
    held = Held()
    world, client = announced(serve, held)
    client.ask()
    world.wait(LAST_SECONDS)

    client.peer.send(asked(*range(3, 3 + 2 * (IDLE_FRAMES + over), 2)))
    world.turn()

    assert client.peer.is_closed is (over > 0)
    assert client.peer.received.endswith(b"\0\0\0\x0b") is (over > 0)
    held.release()


def test_drain_says_goaway_and_answers_what_is_open(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    idle, busy = H2Client(world), H2Client(world)
    stream = busy.ask()
    world.front._is_draining = True

    world.wait(QUIET_SECONDS + CLOSE_SECONDS + 3 * SWEEP_SECONDS)
    idle.read()
    busy.read()
    assert (idle.goaways, idle.peer.is_closed) == ([(0, ANY_STREAM), (0, 0)], True)
    assert (busy.goaways, busy.peer.is_closed) == ([(0, ANY_STREAM)], False)

    held.release()
    busy.read()
    world.wait(QUIET_SECONDS + CLOSE_SECONDS + 3 * SWEEP_SECONDS)
    assert (busy.status(stream), busy.peer.is_closed) == (200, True)


def test_stop_closes_a_connection_when_its_last_request_is_answered(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    stream = client.ask()
    world.front._is_draining = True
    closing = world.loop.create_task(world.front.close_idle())
    world.wait(STOP_SECONDS + SWEEP_SECONDS)
    assert closing.done()
    assert not client.peer.is_closed

    held.release()
    world.wait(SWEEP_SECONDS)
    client.read()

    assert client.is_over(stream)
    assert client.goaways == [(0, ANY_STREAM), (0, stream)]
    assert client.peer.is_closed


def test_stop_refuses_a_body_that_pauses(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    silent, sending = (client.ask(POST, b"x", ends=False) for _ in range(2))
    world.front._is_draining = True
    closing = world.loop.create_task(world.front.close_idle())

    for _ in range(4):
        world.wait(STOP_PAUSE_SECONDS / 2)
        client.send(sending, b"x", ends=False)
    assert client.status(silent) == 503
    client.send(sending, b"x")

    assert client.status(sending) == 200
    world.wait(UPLOAD_SECONDS + 2 * SWEEP_SECONDS)
    assert client.peer.is_closed
    assert closing.done()


def test_old_connection_serves_one_more_request(serve: Serve) -> None:
    limits = replace(LIMITS, keep_alive_seconds=100, idle_seconds=200)
    world = serve(limits=limits)
    client = H2Client(world)
    world.wait(150)
    client.read()
    assert client.goaways == []

    stream = client.ask()

    assert (client.status(stream), client.goaways) == (200, [(0, ANY_STREAM)])


def test_client_that_says_goaway_is_answered_and_left(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    stream = client.ask()
    client.raw(frame(7, 0, 0, bytes(8)))
    assert not client.peer.is_closed

    held.release()
    client.read()

    assert (client.status(stream), client.peer.is_closed) == (200, True)


@pytest.mark.parametrize("has_body", [False, True])
def test_request_behind_the_clients_goaway_is_not_run(serve: Serve, *, has_body: bool) -> None:
    """The parser reads it before the gateway has named the last stream."""
    world = serve()
    client = H2Client(world)
    behind = frame(1, 4, 1, BLOCK) + frame(0, 1, 1, b"abc") if has_body else asked(1)

    client.raw(frame(7, 0, 0, bytes(8)) + behind)

    assert (world.requests, client.goaways, client.peer.is_closed) == ([], [(0, 0)], True)


def test_close_if_idle_spares_clients_that_wait(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    idle, busy = H2Client(world), H2Client(world)
    busy.ask()

    idle.connection.close_if_idle()
    busy.connection.close_if_idle()
    idle.read()

    assert (idle.peer.is_closed, idle.goaways) == (True, [(0, 0)])
    assert not busy.peer.is_closed
    held.release()

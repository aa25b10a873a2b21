"""GOAWAY: when it is said, what is answered behind it, and when the connection closes."""

from dataclasses import replace

import pytest

from gateway.core.floods import CONCURRENT_STREAMS, QUICK_RESETS
from gateway.core.goaway import (
    ANY_STREAM,
    CLOSE_SECONDS,
    QUIET_SECONDS,
    REQUESTS,
    REQUESTS_AT_MOST,
    RESETS,
    RESETS_AT_MOST,
    Ending,
)
from gateway.core.limits import STOP_PAUSE_SECONDS, SWEEP_SECONDS, UPLOAD_SECONDS, Limits
from gateway.web.front import LAST_SECONDS
from tests.web.h2_peer import GET, POST, H2Client, frame, head, statuses
from tests.web.peer import Held, Serve, answer

LIMITS = Limits()
CANCEL, REFUSED_STREAM = 8, 7


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The frames that a gateway has sent: type, flags, stream and payload."""
    found = []
    while data:
        end = 9 + int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
        data = data[end:]
    return found


def ending(client: H2Client) -> Ending:
    return client.connection._ending


def test_goaway_of_a_full_connection_has_two_steps(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    ending(client).requests = REQUESTS - 2
    first = client.ask()
    assert client.goaways == []
    second = client.ask()
    assert client.goaways == [(0, ANY_STREAM)]

    on_its_way = client.ask()
    world.wait(QUIET_SECONDS - SWEEP_SECONDS)
    late = client.ask()
    assert statuses(client, [first, second, on_its_way, late]) == [200] * 4
    assert client.goaways == [(0, ANY_STREAM)]

    world.wait(QUIET_SECONDS + SWEEP_SECONDS)
    client.read()
    assert client.goaways == [(0, ANY_STREAM), (0, late)]
    assert not client.peer.is_closed
    world.wait(CLOSE_SECONDS + SWEEP_SECONDS)
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)


def test_last_stream_is_not_named_while_one_is_open(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    ending(client).requests = REQUESTS - 1
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


def test_last_stream_is_named_before_the_parsers_end(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    ending(client).requests = REQUESTS_AT_MOST - 2
    streams = [client.ask(), client.ask()]
    assert client.goaways == [(0, ANY_STREAM), (0, streams[-1])]

    world.wait(10)
    held.release(), held.release()
    client.read()
    world.wait(CLOSE_SECONDS + SWEEP_SECONDS)

    assert statuses(client, streams) == [200, 200]
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)


def test_what_is_on_its_way_behind_the_last_stream_is_refused_and_not_reset(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    ending(client).requests = REQUESTS_AT_MOST - 1
    client.ask()
    assert not client.peer.is_closed

    on_its_way = client.ask()
    assert client.reset(on_its_way) == REFUSED_STREAM
    assert len(world.requests) == 1
    assert not client.peer.is_closed

    world.wait(CLOSE_SECONDS + SWEEP_SECONDS)
    assert (client.peer.is_closed, client.peer.is_aborted) == (True, False)


def test_refusals_behind_goaway_do_not_count_as_resets_of_the_client(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    ending(client).requests = REQUESTS_AT_MOST - 2
    streams = [client.ask(), client.ask()]

    refused = [client.ask() for _ in range(QUICK_RESETS)]
    held.release()
    held.release()
    client.read()

    assert {client.reset(stream) for stream in refused} == {REFUSED_STREAM}
    assert statuses(client, streams) == [200, 200]
    assert client.goaways == [(0, ANY_STREAM), (0, streams[-1])]
    assert ending(client).resets == 0


@pytest.mark.slow
def test_full_set_of_streams_on_its_way_at_goaway_loses_nothing(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    client.connection._share.need = 1
    slow = client.ask()
    ids = iter(range(slow + 2, 2**31, 2))
    get = frame(1, 5, 0, client.codec.encoder.encode(GET))
    for _ in range(REQUESTS_AT_MOST - 2):
        client.peer.send(get[:5] + next(ids).to_bytes(4, "big") + get[9:])
        world.turn()
        held._waiting.pop().set_result(answer(b""))
        world.turn()
    at_once = [next(ids) for _ in range(CONCURRENT_STREAMS)]

    client.peer.send(b"".join(get[:5] + at.to_bytes(4, "big") + get[9:] for at in at_once))
    world.turn()
    while held._waiting:
        held.release()
    world.turn()

    told = frames(client.peer.received)
    assert [payload for kind, _, _, payload in told if kind == 7] == [
        ANY_STREAM.to_bytes(4, "big") + bytes(4),
        at_once[0].to_bytes(4, "big") + bytes(4),
    ]
    ended = [at for kind, flags, at, _ in told if kind < 2 and flags & 1]
    assert sorted(ended) == list(range(slow, at_once[0] + 1, 2))
    assert [at for kind, _, at, _ in told if kind == 3] == at_once[1:]
    assert not client.peer.is_closed


@pytest.mark.parametrize("is_last_a_request", [True, False])
def test_streams_without_a_request_use_up_a_connection_too(
    serve: Serve, *, is_last_a_request: bool
) -> None:
    held = Held()
    client = H2Client(serve(held))
    ending(client).requests = REQUESTS_AT_MOST - 3
    malformed = head(("connection", "close"))

    first = client.ask()
    client.ask(malformed)
    assert client.goaways == [(0, ANY_STREAM)]
    last = client.ask(GET if is_last_a_request else malformed)

    assert client.goaways[1:] == [(0, last if is_last_a_request else first)]
    while held._waiting:
        held.release()


def test_many_resets_are_followed_by_goaway(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    for count in range(RESETS_AT_MOST):
        assert client.goaways == [(0, ANY_STREAM)] * (count >= RESETS)
        if not count % 10:
            world.wait(1)
        client.codec.reset_stream(client.ask(POST, b"a", ends=False), CANCEL)
        client.flush()

    assert [code for code, _ in client.goaways] == [0, 0]
    world.wait(CLOSE_SECONDS + SWEEP_SECONDS)
    assert client.peer.is_closed


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
    world.wait(LAST_SECONDS + SWEEP_SECONDS)
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

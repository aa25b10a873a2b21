"""Clients that send no more, leave, or do not read; Responders that fail or take long."""

from dataclasses import replace

import pytest

from gateway.core.limits import Limits
from tests.web.peer import CANARY, GET, Held, Serve, Telling, World, chunked, post

BODY_HEAD = post(b"hello")[:-5]


def details(world: World) -> list[str]:
    return [notice.response.forwarding.detail for notice in world.served]


LIMITS = Limits()


# The end of what a client sends


@pytest.mark.parametrize("pieces", [[], [GET], [GET, b"\r\n"]], ids=["new", "used", "empty-line"])
def test_end_between_requests_closes_without_a_word(serve: Serve, pieces: list[bytes]) -> None:
    world = serve()
    peer = world.exchange(*pieces)
    received = peer.received

    peer.send_eof()
    world.turn()

    assert (peer.is_closed, peer.is_aborted, peer.received) == (True, False, received)
    assert len(world.served) == len(pieces[:1])


@pytest.mark.parametrize(
    ("piece", "method"),
    [
        (b"G", ""),
        (GET[:-1], ""),
        (BODY_HEAD, "POST"),
        (BODY_HEAD + b"hell", "POST"),
        (chunked(b"x", end=b"0\r\n"), "POST"),
    ],
)
def test_end_within_a_request_is_answered_with_400(serve: Serve, piece: bytes, method: str) -> None:
    world = serve()
    peer = world.exchange(GET, piece)

    peer.send_eof()
    world.turn()

    assert peer.statuses == [200, 400]
    assert (peer.is_closed, peer.is_aborted) == (True, False)
    assert world.served[1].elb_status == 400
    assert world.served[1].request.method == method
    assert "left in the middle" in details(world)[1]


def test_end_while_the_function_runs_lets_it_answer(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)

    peer.send_eof()
    world.wait(600)
    assert not peer.is_closed
    held.release()
    world.turn()

    assert peer.statuses == [200]
    assert peer.replies[0].headers["Connection"] == "close"
    assert (peer.is_closed, peer.is_aborted) == (True, False)
    assert world.noted == [(460, len(peer.received))]


def test_every_request_before_the_end_is_answered(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET + post(b"x"), CANARY)

    peer.send_eof()
    for _ in range(3):
        held.release()
        world.turn()

    assert [request.raw_path for request in held.requests] == [b"/a", b"/a", b"/canary"]
    assert [reply.headers["Connection"] for reply in peer.replies] == [
        "keep-alive",
        "keep-alive",
        "close",
    ]
    assert (peer.is_closed, peer.is_aborted) == (True, False)
    assert [status for status, _ in world.noted] == [460, 460, 460]


@pytest.mark.parametrize(
    ("rest", "statuses"),
    [
        (b"GET", [200, 400]),
        (BODY_HEAD + b"h", [200, 400]),
        (b"\r\n", [200]),
        (b"x\n\n", [200, 400]),
    ],
)
def test_what_is_incomplete_at_the_end_is_refused_in_its_turn(
    serve: Serve, rest: bytes, statuses: list[int]
) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET, rest)

    peer.send_eof()
    world.turn()
    assert peer.statuses == []
    held.release()
    world.turn()

    assert peer.statuses == statuses
    assert (peer.is_closed, peer.is_aborted) == (True, False)


def test_end_behind_a_request_that_closes_closes(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET.replace(b"Host", b"Connection: close\r\nHost"), CANARY)

    peer.send_eof()
    held.release()
    world.turn()

    assert peer.statuses == [200]
    assert (peer.is_closed, peer.is_aborted) == (True, False)


def test_end_while_the_response_is_written_closes_when_it_is(serve: Serve) -> None:
    world = serve(Telling(size=1000))
    peer = world.connect(room=100)
    peer.send(GET)
    world.turn()

    peer.send_eof()
    world.turn()
    assert not peer.is_closed
    peer.take()
    world.turn()

    assert peer.statuses == [200]
    assert (peer.is_closed, peer.is_aborted) == (True, False)


def test_end_after_a_refusal_closes(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(b"x\r\n\r\n" + CANARY)

    peer.send_eof()
    world.turn()

    assert (peer.is_closed, peer.is_aborted) == (True, False)


def test_transport_that_cannot_half_close_lingers_all_the_same(serve: Serve) -> None:
    world = serve()
    peer = world.connect(can_half_close=False)

    peer.send(b"x\r\n\r\n" + CANARY)
    world.turn()

    assert (peer.statuses, peer.is_half_closed, peer.is_closed) == ([400], False, False)
    world.wait(LIMITS.linger_silence_seconds)
    assert peer.is_closed


# Lost connections


@pytest.mark.parametrize("pieces", [[], [GET], [b"G"], [b"x\r\n\r\n"]])
def test_connection_lost_without_a_request_is_not_noted(serve: Serve, pieces: list[bytes]) -> None:
    world = serve()
    peer = world.exchange(*pieces)
    before = len(world.served)

    peer.leave()
    world.turn()

    assert len(world.served) == before
    assert world.front.members.connections == set()


def test_connection_lost_within_a_body_is_noted(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(BODY_HEAD)

    peer.leave()
    world.turn()

    assert world.noted == [(400, 0)]
    assert "left in the middle" in details(world)[0]


def test_invocation_goes_on_when_its_client_has_gone(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)

    peer.leave()
    world.wait(600)
    assert world.served == []
    held.release()
    world.turn()

    assert world.noted == [(460, 0)]
    assert world.served[0].response.body == b"released"
    assert peer.received == b""


def test_invocation_counts_as_a_connection_when_its_client_has_gone(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=replace(LIMITS, connections=1))
    world.exchange(GET).leave()
    world.turn()

    assert world.connect().is_aborted
    held.release()
    world.turn()
    assert not world.connect().is_aborted


def test_requests_behind_one_whose_client_has_gone_are_not_run(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    world.exchange(GET + CANARY).leave()
    world.turn()

    held.release()
    world.turn()

    assert len(held.requests) == 1


def test_lost_connection_has_no_deadlines(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)
    peer.connection.progress.stalled_at = 0.0
    peer.leave()
    world.turn()

    world.sweep()

    assert not peer.is_aborted
    held.release()


def test_connection_lost_while_its_response_is_written_is_noted_once(serve: Serve) -> None:
    world = serve(Telling(size=1000))
    peer = world.connect(room=100)
    peer.send(GET)
    world.turn()

    peer.leave()
    world.turn()

    assert [status for status, _ in world.noted] == [200]


# Clients that do not read


def test_next_request_waits_until_the_response_is_taken(serve: Serve) -> None:
    telling = Telling(size=1000)
    world = serve(telling)
    peer = world.connect(room=999)
    peer.send(GET + CANARY)
    world.turn()
    assert len(telling.requests) == 1

    peer.take(10)
    world.turn()
    assert len(telling.requests) == 1
    peer.take()
    world.turn()

    assert len(telling.requests) == 2
    assert peer.statuses == [200, 200]


def test_what_comes_while_a_response_is_written_is_kept_within_bounds(serve: Serve) -> None:
    telling = Telling(size=1000)
    world = serve(telling, limits=replace(LIMITS, pipelined_bytes=len(CANARY)))
    peer = world.connect(room=0)
    for _ in range(4):
        peer.send(CANARY)
        world.turn()
    assert peer.is_reading_paused
    assert len(peer.connection._buffer) == 2 * len(CANARY)

    peer.take()
    world.turn(32)

    assert len(telling.requests) == 4
    assert peer.statuses == 4 * [200]


def test_client_that_does_not_take_the_100_gets_its_answer_later(serve: Serve) -> None:
    world = serve()
    peer = world.connect(room=0)
    head, _, body = post(b"hello", b"Expect: 100-continue").partition(b"\r\n\r\n")
    peer.send(head + b"\r\n\r\n")
    peer.send(body + CANARY)
    world.turn()
    assert len(world.requests) == 1

    peer.take()
    world.turn()

    assert peer.statuses == [100, 200, 200]


def test_client_may_take_the_100_before_its_body_ends(serve: Serve) -> None:
    world = serve()
    peer = world.connect(room=0)
    head, _, body = post(b"hello", b"Expect: 100-continue").partition(b"\r\n\r\n")
    peer.send(head + b"\r\n\r\n")

    peer.take()
    peer.send(body)
    world.turn()

    assert peer.statuses == [100, 200]


def test_large_response_to_a_client_that_closes_is_not_lost(serve: Serve) -> None:
    world = serve(Telling(size=100_000))
    peer = world.connect(room=1000)
    peer.send(GET.replace(b"Host", b"Connection: close\r\nHost") + CANARY)
    world.turn()

    for _ in range(5):
        world.wait(LIMITS.stalled_write_seconds / 2)
        peer.take(10_000)
    peer.take()
    world.turn()

    (reply,) = peer.replies
    assert len(reply.body) == 100_000
    assert peer.is_half_closed

"""How the listener's own front drains: what is answered, and when it ends."""

import asyncio

import pytest

from gateway.core.http import HttpRequest
from gateway.core.limits import (
    BRIEF_LINGER_SECONDS,
    STOP_PAUSE_SECONDS,
    SWEEP_SECONDS,
    Limits,
    Phase,
)
from gateway.web.front import ABORT_SECONDS, LAST_SECONDS
from tests.web.peer import CANARY, GET, START, Held, Serve, World, phase, post

LIMITS = Limits()

# Drain


def draining(world: World, *, is_hasty: bool = False) -> "asyncio.Task[None]":
    """Begin to drain, as the server does when it has stopped accepting."""
    task = world.loop.create_task(world.front.drain())
    if is_hasty:
        closing = world.loop.create_task(world.front.close_idle())
        task.add_done_callback(lambda _: closing.cancel())
    world.turn()
    return task


def seconds(world: World) -> float:
    return world.clock.monotonic() - START


@pytest.mark.parametrize("is_hasty", [False, True])
def test_drain_of_no_connections_takes_no_time(serve: Serve, is_hasty: bool) -> None:
    world = serve()
    world.exchange(GET).leave()
    world.turn()

    world.run(draining(world, is_hasty=is_hasty))

    assert seconds(world) == 0


def test_drain_waits_for_requests_in_flight_and_closes_behind_them(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peers = [world.exchange(GET) for _ in range(3)]
    task = draining(world)

    for peer in peers:
        world.wait(5)
        assert not task.done()
        held.release()
        world.turn()
        assert peer.replies[0].headers["Connection"] == "close"
        peer.send_eof()
    world.turn()

    assert task.done()
    assert [peer.is_aborted for peer in peers] == 3 * [False]


def test_drain_answers_what_comes_on_idle_connections(serve: Serve) -> None:
    world = serve()
    idle, fresh = world.exchange(GET), world.connect()
    task = draining(world)
    world.wait(5)

    for peer in (idle, fresh):
        peer.send(GET)
        world.turn()
        assert peer.replies[-1].headers["Connection"] == "close"
        peer.send_eof()
    world.turn()

    assert task.done()


def test_drain_answers_bodies_that_are_still_coming(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(post(b"hello")[:-1])
    task = draining(world)

    peer.send(b"o" + CANARY)
    world.turn()

    assert peer.statuses == [200]
    assert phase(peer) is Phase.LINGERING
    world.run(task)
    assert seconds(world) == BRIEF_LINGER_SECONDS


def test_drain_answers_connections_that_were_accepted_just_before(serve: Serve) -> None:
    world = serve()
    task = world.loop.create_task(world.front.drain())
    world.turn(2)

    peer = world.connect()
    peer.send(GET)
    world.turn()

    assert peer.replies[0].headers["Connection"] == "close"
    assert not task.done()
    peer.send_eof()
    world.turn()
    assert task.done()


def test_drain_waits_again_for_a_connection_that_came_when_all_had_gone(serve: Serve) -> None:
    world = serve()
    first = world.connect()
    task = draining(world)
    first.leave()
    world.turn(1)

    second = world.connect()

    world.turn()
    assert not task.done()
    second.leave()
    world.turn()
    assert task.done()


@pytest.mark.parametrize("is_hasty", [False, True])
def test_drain_waits_for_invocations_without_a_client(serve: Serve, is_hasty: bool) -> None:
    held = Held()
    world = serve(held)
    world.exchange(GET).leave()
    world.turn()
    task = draining(world, is_hasty=is_hasty)

    world.wait(5)
    assert not task.done()
    held.release()
    world.turn()

    assert task.done()
    assert world.noted == [(460, 0)]


def test_drain_ends_what_is_left_at_its_limit(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peers = [world.connect(), world.exchange(b"G"), world.exchange(GET), world.exchange(GET)]
    peers[3].leave()
    task = draining(world)

    world.wait(LIMITS.drain_seconds - SWEEP_SECONDS)
    assert not task.done()
    world.wait(SWEEP_SECONDS)

    assert task.done()
    assert all(peer.is_closed for peer in peers)
    assert world.front.members.connections == set()
    assert [status for status, _ in world.noted] == [408, 460, 460]


@pytest.mark.parametrize(("early", "statuses"), [(1, [200]), (-1, [])])
def test_request_that_ends_within_the_drain_limit_is_answered(
    serve: Serve, early: int, statuses: list[int]
) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)
    draining(world)

    world.wait(LIMITS.drain_seconds - early * SWEEP_SECONDS)
    held.release()
    world.turn()

    assert peer.statuses == statuses


class Stubborn:
    """A Responder that does not take no for an answer."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def respond(self, request: HttpRequest, /) -> None:
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            await self.end.wait()
        raise asyncio.CancelledError


def test_drain_does_not_wait_for_a_task_that_cannot_be_cancelled(serve: Serve) -> None:
    stubborn = Stubborn()
    world = serve(stubborn)
    world.exchange(GET)

    world.run(world.front.drain())

    assert seconds(world) == LIMITS.drain_seconds + ABORT_SECONDS
    stubborn.end.set()
    world.turn()


def test_hasty_drain_answers_for_a_second_and_then_closes_idle_connections(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    fresh, asking = world.connect(), world.connect()
    working = world.exchange(GET)
    task = draining(world, is_hasty=True)

    world.wait(LAST_SECONDS - 0.1)
    asking.send(GET)
    world.turn()
    assert not fresh.is_closed
    world.wait(0.1)

    assert (fresh.is_closed, fresh.is_aborted) == (True, False)
    assert not any(peer.is_closed for peer in (working, asking))
    for peer in (working, asking):
        held.release()
        world.turn()
        assert peer.statuses == [200]
        assert peer.replies[0].headers["Connection"] == "close"
        peer.send_eof()
    world.turn()
    assert task.done()


def test_hasty_drain_refuses_a_body_that_pauses(serve: Serve) -> None:
    world = serve()
    begun = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nx")
    silent, sending = world.exchange(begun), world.exchange(begun)
    task = draining(world, is_hasty=True)

    for _ in range(4):
        world.wait(STOP_PAUSE_SECONDS / 2)
        sending.send(b"x")
        world.turn()
    assert (silent.statuses, sending.statuses) == ([503], [])
    assert silent.replies[0].headers["Connection"] == "close"
    sending.send(b"xxxx")
    world.turn()

    assert sending.statuses == [200]
    world.run(task)


def test_hasty_drain_refuses_a_head_that_has_no_end_after_the_last_second(serve: Serve) -> None:
    world = serve()
    reading, late = world.exchange(b"G"), world.exchange(b"G")
    task = draining(world, is_hasty=True)

    late.send(GET[1:])
    world.turn()
    world.wait(LAST_SECONDS)

    assert (late.statuses, reading.statuses) == ([200], [503])
    assert reading.replies[0].headers["Connection"] == "close"
    world.run(task)
    assert seconds(world) <= LAST_SECONDS + BRIEF_LINGER_SECONDS


def test_abort_in_the_middle_of_a_drain_ends_it(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peers = [world.connect(), world.exchange(GET), world.exchange(GET)]
    peers[2].leave()
    task = draining(world)

    world.front.abort()
    world.turn()

    assert task.done()
    assert all(peer.is_closed for peer in peers)
    assert seconds(world) == 0
    assert [status for status, _ in world.noted] == [460, 460]

"""Clients that leave a request alone, and servers that cancel it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from gateway.core.http import HttpRequest, HttpResponse
from gateway.testing import FakeClock
from gateway.web.asgi import (
    DISCONNECT_CHECK_SECONDS,
    Message,
    Scope,
)
from tests.web.exchange import (
    DISCONNECT,
    NO_BODY,
    NOW,
    PATIENCE_SECONDS,
    Answering,
    Server,
    World,
    body,
    framed,
    scope,
)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
@pytest.mark.parametrize(
    "start", [[], body(b"x", b"")[:1], [{"type": "http.request", "more_body": True}]]
)
async def test_client_that_leaves_before_its_body_is_complete_is_noted_as_400(
    start: list[Message], seconds: float
) -> None:
    responder = Answering()
    world = World(responder)

    def messages() -> Iterator[Message]:
        yield from start
        world.clock.advance(seconds)
        yield DISCONNECT

    server = await world.serve(messages(), **framed(5))

    assert (server.sent, responder.requests) == ([], [])
    assert (world.notice.elb_status, world.notice.sent_bytes) == (400, 0)
    assert world.notice.response.forwarding.detail.startswith("the client left before its body")


SLOW = DISCONNECT_CHECK_SECONDS * 2


def slow_world(seconds: float = SLOW) -> World:
    """A world whose Responder takes its time."""
    clock = FakeClock(NOW)
    return World(Answering(meanwhile=lambda: clock.advance(seconds)), clock)


@pytest.mark.parametrize(
    ("messages", "changes"),
    [
        ([*NO_BODY, DISCONNECT], framed(0)),
        ([*NO_BODY, DISCONNECT], {}),
        ([DISCONNECT], {}),
    ],
    ids=["after its body", "behind a body that was not read", "at once"],
)
async def test_client_that_left_during_a_slow_response_is_noted_as_460(
    messages: list[Message], changes: Scope
) -> None:
    world = slow_world()

    server = await world.serve(messages, **changes)

    assert server.sent == []
    assert (world.notice.elb_status, world.notice.sent_bytes) == (460, 0)
    assert world.notice.response.status == 404


async def test_client_that_stays_gets_a_slow_response() -> None:
    world = slow_world()

    server = await world.serve()

    assert (server.status, world.notice.elb_status) == (404, 404)


async def test_client_that_still_sends_gets_a_slow_response() -> None:
    world = slow_world()

    server = await world.serve([*NO_BODY, {"type": "http.request"}])

    assert (server.status, world.notice.elb_status) == (404, 404)


async def test_no_client_is_asked_after_a_fast_response() -> None:
    world = slow_world(DISCONNECT_CHECK_SECONDS / 2)

    server = await world.serve([*NO_BODY, DISCONNECT])

    assert server.status == 404
    assert DISCONNECT not in server.given


async def test_disconnect_that_comes_through_a_queue_is_seen() -> None:
    world = slow_world()
    server = Server([*NO_BODY, DISCONNECT])

    async def receive() -> Message:
        await checkpoint()  # as anyio's memory streams do
        return await server.receive()

    await world.front(scope(), receive, server.send)

    assert (server.sent, world.notice.elb_status) == ([], 460)


async def test_client_that_leaves_while_the_response_is_sent_breaks_nothing() -> None:
    world = World()

    async def send(message: Message) -> None:
        raise BrokenPipeError

    await world.front(scope(), Server(NO_BODY).receive, send)

    assert world.notice.elb_status == 404


class Waiting:
    """A Responder that never answers and says when it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def serve_and_cancel(
    world: World, asked: asyncio.Event, server: Server, **changes: Any
) -> asyncio.Task[None]:
    """Cancel the server's task once something was asked; return it when it has ended."""
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(world.front(scope(**changes), server.receive, server.send))
        await asked.wait()
        task.cancel()
    return task


async def test_request_that_the_server_cancels_is_noted_as_460() -> None:
    responder = Waiting()
    world, server = World(responder), Server(NO_BODY)

    task = await serve_and_cancel(world, responder.asked, server)

    assert task.cancelled()
    assert (server.sent, world.notice.elb_status) == ([], 460)


async def test_request_cancelled_while_its_body_comes_is_noted_as_460() -> None:
    asked = asyncio.Event()

    def messages() -> Iterator[Message]:
        asked.set()
        yield from ()

    world, server = World(), Server(messages())

    task = await serve_and_cancel(world, asked, server, **framed(5))

    assert task.cancelled()
    assert (server.sent, world.notice.elb_status) == ([], 460)


async def test_request_cancelled_while_its_client_is_looked_for_is_noted_as_460() -> None:
    world = slow_world()
    asked = asyncio.Event()

    def messages() -> Iterator[Message]:
        yield from NO_BODY
        asked.set()

    server = Server(messages())

    task = await serve_and_cancel(world, asked, server)

    assert task.cancelled()
    assert (server.sent, world.notice.elb_status) == ([], 460)

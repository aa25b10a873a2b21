"""HTTP/1 connections whose responder raises, and those that are aborted."""

from collections.abc import Callable

import pytest

from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.limits import Phase
from gateway.web import exchanges
from tests.web.peer import CANARY, GET, Held, Serve, World, answer, phase, post
from tests.web.transport import Peer

BODY_HEAD = post(b"hello")[:-5]


def details(world: World) -> list[str]:
    return [notice.response.forwarding.detail for notice in world.served]


class Failing:
    """A Responder with a bug."""

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        raise ZeroDivisionError(request.raw_path.decode())


# Responders


def test_responder_that_raises_is_a_502_and_a_warning(serve: Serve) -> None:
    world = serve(Failing())

    peer = world.exchange(GET + CANARY)

    assert peer.statuses == [502, 502]
    assert peer.replies[0].headers["Connection"] == "keep-alive"
    forwarding = world.served[0].response.forwarding
    assert forwarding.error_reason == "LambdaUnhandledException"
    assert forwarding.detail == "ZeroDivisionError('/a')"
    assert "Traceback" in world.warnings[0]
    assert "ZeroDivisionError: /a" in world.warnings[0]


def test_responder_that_raises_for_a_client_that_left_is_noted_as_460(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    world.exchange(GET).leave()
    world.turn()

    held.fail(ZeroDivisionError())
    world.turn()

    assert world.noted == [(460, 0)]
    assert len(world.warnings) == 1


def test_responder_that_raises_is_reported_without_a_sink_too(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    assert serve(Failing(), has_sink=False).exchange(GET).statuses == [502]

    (record,) = [record for record in caplog.records if record.name == exchanges.__name__]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


# Aborts


@pytest.mark.parametrize(
    "state",
    [
        lambda world: world.exchange(),
        lambda world: world.exchange(GET),
        lambda world: world.exchange(b"G"),
        lambda world: world.exchange(BODY_HEAD),
        lambda world: world.exchange(b"x\r\n\r\n"),
    ],
    ids=["new", "idle", "head", "body", "lingering"],
)
def test_abort_ends_a_connection_at_once(serve: Serve, state: Callable[[World], Peer]) -> None:
    world = serve()
    peer = state(world)

    peer.connection.abort()
    world.turn()

    assert (peer.is_closed, peer.is_aborted) == (True, True)
    assert world.front.members.connections == set()


@pytest.mark.parametrize("has_left", [False, True])
def test_abort_ends_the_wait_for_an_invocation(serve: Serve, has_left: bool) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET + CANARY)
    if has_left:
        peer.leave()
        world.turn()

    peer.connection.abort()
    world.turn()

    assert peer.is_closed
    assert world.front.members.connections == set()
    assert world.noted == [(460, 0)]
    assert "ended before" in details(world)[0]
    assert len(held.requests) == 1


def test_abort_before_the_invocation_has_begun_leaves_nothing(serve: Serve) -> None:
    world = serve(Held())
    peer = world.connect()
    peer.send(GET)

    peer.connection.abort()
    world.turn()

    assert world.front.members.connections == set()
    assert world.noted == [(460, 0)]


def test_answer_of_a_function_is_used_once(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)

    held.release(answer(b"one"))
    world.turn()

    assert [reply.body for reply in peer.replies] == [b"one"]
    assert phase(peer) is Phase.IDLE
    assert peer.connection._task is None

"""What all connections of a front share: how many there are, the date, the sweep, and the end."""

from dataclasses import replace

import pytest

from gateway.core.attributes import Attributes
from gateway.core.errors import RequestTooLarge
from gateway.core.http import HttpRequest
from gateway.core.limits import Limits
from gateway.core.pages import Pages
from tests.web.peer import DATE, GET, START, Held, Serve
from tests.web.transport import Peer

LIMITS = Limits()

# Connections


@pytest.mark.parametrize(("count", "is_admitted"), [(1, True), (2, True), (3, False)])
def test_connections_up_to_the_limit_are_admitted(
    serve: Serve, count: int, is_admitted: bool
) -> None:
    world = serve(limits=replace(LIMITS, connections=2))

    peers = [world.connect(client=(f"198.51.100.{number}", 1)) for number in range(count)]

    assert [peer.is_closed for peer in peers] == [False] * (count - 1) + [not is_admitted]
    assert peers[-1].is_aborted is not is_admitted
    assert peers[-1].received == b""


@pytest.mark.parametrize(("count", "is_admitted"), [(1, True), (2, True), (3, False)])
def test_up_to_the_limit_connections_of_one_address_are_admitted(
    serve: Serve, count: int, is_admitted: bool
) -> None:
    world = serve(limits=replace(LIMITS, connections_per_address=2))

    peers = [world.connect(client=("198.51.100.7", number)) for number in range(count)]

    assert peers[-1].is_closed is not is_admitted
    assert not world.connect(client=("198.51.100.8", 1)).is_closed


def test_ended_connection_makes_room(serve: Serve) -> None:
    world = serve(limits=replace(LIMITS, connections_per_address=1))
    first = world.connect()
    assert world.connect().is_closed

    first.leave()
    world.turn()

    assert not world.connect().is_closed


def test_connection_that_was_not_admitted_takes_no_room_away(serve: Serve) -> None:
    world = serve(limits=replace(LIMITS, connections_per_address=1))
    world.connect()

    for _ in range(3):
        assert world.connect().is_closed

    assert world.front.members.per_address == {"198.51.100.7": 1}
    assert len(world.front.members.connections) == 1


def test_one_client_with_two_spellings_of_its_address_is_one(serve: Serve) -> None:
    world = serve(limits=replace(LIMITS, connections_per_address=1))
    world.connect(client=("198.51.100.7", 1))

    assert world.connect(client=("::ffff:198.51.100.7", 2, 0, 0)).is_closed


# The date


def date_of(peer: Peer) -> str:
    return peer.replies[-1].headers["Date"]


def test_date_is_there_from_the_first_response_on(serve: Serve) -> None:
    assert date_of(serve().exchange(GET)) == DATE.decode()


def test_date_is_never_older_than_a_sweep(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(GET)

    for second in (5, 6, 6, 7):
        world.wait(1 if second != 6 else 0.5)
        peer.send(GET)
        world.turn()

    assert [reply.headers["Date"][-6:-4] for reply in peer.replies] == [
        "04",
        "05",
        "05",
        "06",
        "07",
    ]


def test_refusals_have_the_date_of_their_moment(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(b"G")

    world.wait(LIMITS.head_seconds)

    assert date_of(peer) == "Thu, 01 Jan 1970 00:17:24 GMT"


# What connections ask for


def test_pages_are_those_of_the_listener(serve: Serve) -> None:
    world = serve(pages=Pages(Attributes(server_header=False)))

    (reply,) = world.exchange(b"x\r\n\r\n").replies

    assert "Server" not in reply.headers
    assert list(reply.headers) == ["Date", "Content-Type", "Content-Length", "Connection"]


def test_refusal_of_an_error_has_its_status_and_reason(serve: Serve) -> None:
    request = HttpRequest("GET", b"/", b"/", b"", [])

    response = serve().front.refused(request, RequestTooLarge("so large"))

    assert response.status == 413
    assert response.forwarding.error_reason == "LambdaRequestTooLarge"
    assert response.forwarding.detail == "so large"


def test_compliant_heads_have_no_class(serve: Serve) -> None:
    world = serve()

    world.exchange(GET, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /a HTTP/1.1\r\n\r\n")

    assert [notice.request.classification for notice in world.served] == ["", "", ""]


def test_notice_is_made_at_the_moment_of_the_response(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    world.exchange(GET)
    world.wait(5)

    held.release()
    world.turn()

    assert (world.served[0].request.arrived_at, world.served[0].completed_at) == (START, START + 5)

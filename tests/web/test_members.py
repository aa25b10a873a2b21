"""Connections counted in and out, and what is said of those that are over a limit."""

from dataclasses import replace

import pytest

from gateway.core.limits import Limits
from tests.web.peer import CLIENT, GET, Serve, World

OTHER = ("203.0.113.9", 40000)
OVER_ADDRESS = "2 over connections_per_address=1 (from 198.51.100.7)"


def lines(world: World) -> list[str]:
    return [text for text in world.warnings if text.startswith("connections closed unanswered")]


@pytest.mark.parametrize(
    ("limits", "clients", "said", "counted"),
    [
        (
            {"connections_per_address": 1},
            [CLIENT, CLIENT, CLIENT],
            OVER_ADDRESS,
            {"connections_per_address": 2},
        ),
        (
            {"connections": 1},
            [CLIENT, CLIENT, OTHER],
            "2 over connections=1 (from 198.51.100.7 and others)",
            {"connections": 2},
        ),
        (
            {"connections": 2, "connections_per_address": 1},
            [CLIENT, CLIENT, OTHER, OTHER],
            "1 over connections=2 (from 203.0.113.9), "
            "1 over connections_per_address=1 (from 198.51.100.7)",
            {"connections": 1, "connections_per_address": 1},
        ),
    ],
)
def test_one_line_a_second_says_which_limit_turned_connections_away(
    serve: Serve,
    limits: dict[str, int],
    clients: list[tuple[str, int]],
    said: str,
    counted: dict[str, int],
) -> None:
    world = serve(limits=replace(Limits(), **limits))
    for client in clients:
        world.connect(client)
    assert lines(world) == []

    world.wait(1.25)

    assert lines(world) == [f"connections closed unanswered: {said}"]
    assert world.front.members.turned_away.total == counted
    world.wait(5)
    assert len(lines(world)) == 1


def test_flood_of_connections_is_one_line_a_second(serve: Serve) -> None:
    world = serve(limits=replace(Limits(), connections_per_address=1))
    for _ in range(12):
        for _ in range(50):
            world.connect()
        world.wait(0.25)
    world.wait(1)

    assert 3 <= len(lines(world)) <= 4
    assert world.front.members.turned_away.total["connections_per_address"] == 599


def test_what_was_turned_away_last_is_said_at_the_end(serve: Serve) -> None:
    world = serve(limits=replace(Limits(), connections_per_address=1))
    for _ in range(3):
        world.connect()

    world.front.stop()

    assert lines(world) == [f"connections closed unanswered: {OVER_ADDRESS}"]


def test_nothing_is_said_where_no_limit_was_reached(serve: Serve) -> None:
    world = serve(limits=replace(Limits(), connections_per_address=2))
    for _ in range(2):
        world.connect().send(GET)
    world.wait(5)

    assert lines(world) == []
    assert world.front.members.turned_away.total == {}


def test_front_without_a_sink_counts_all_the_same(serve: Serve) -> None:
    world = serve(limits=replace(Limits(), connections=1), has_sink=False)
    world.connect()
    world.connect()
    world.wait(2)

    assert world.front.members.turned_away.total == {"connections": 1}

"""When a connection is told that it ends: each number just below, at and just above."""

import pytest

from gateway.core.floods import CONCURRENT_STREAMS, QUICK_RESETS, STREAMS, STREAMS_RESET
from gateway.core.goaway import (
    CLOSE_SECONDS,
    QUIET_SECONDS,
    REQUESTS,
    REQUESTS_AT_MOST,
    RESETS,
    RESETS_AT_MOST,
    Ending,
    Stage,
)


@pytest.mark.parametrize(
    ("requests", "resets", "stage"),
    [
        (0, 0, Stage.OPEN),
        (REQUESTS - 1, 0, Stage.OPEN),
        (REQUESTS, 0, Stage.ANNOUNCED),
        (REQUESTS - 10, 9, Stage.OPEN),
        (REQUESTS - 10, 10, Stage.ANNOUNCED),
        (REQUESTS_AT_MOST - 1, 0, Stage.ANNOUNCED),
        (REQUESTS_AT_MOST, 0, Stage.LEAVING),
        (REQUESTS_AT_MOST + 1, 0, Stage.LEAVING),
        (0, RESETS - 1, Stage.OPEN),
        (0, RESETS, Stage.ANNOUNCED),
        (0, RESETS_AT_MOST - 1, Stage.ANNOUNCED),
        (0, RESETS_AT_MOST, Stage.LEAVING),
    ],
)
def test_stage_is_due_for_what_was_used(requests: int, resets: int, stage: Stage) -> None:
    ending = Ending()
    ending.requests, ending.resets = requests, resets

    assert ending.due() is stage


def test_stages_only_go_on() -> None:
    ending = Ending()

    assert ending.enter(Stage.LEAVING, 0)
    assert not ending.enter(Stage.ANNOUNCED, 0)
    assert not ending.enter(Stage.LEAVING, 0)
    assert ending.stage is Stage.LEAVING


@pytest.mark.parametrize(("late", "is_due"), [(-0.1, False), (0, True), (0.1, True)])
def test_last_stream_is_named_when_the_client_is_quiet(late: float, *, is_due: bool) -> None:
    ending = Ending()
    assert ending.due_without_streams(10 * QUIET_SECONDS, 0) is Stage.OPEN
    ending.enter(Stage.ANNOUNCED, 0)

    stage = ending.due_without_streams(QUIET_SECONDS + late, 100)

    assert stage is (Stage.LEAVING if is_due else Stage.ANNOUNCED)


@pytest.mark.parametrize(("late", "is_due"), [(-0.1, False), (0, True), (0.1, True)])
def test_connection_closes_a_while_after_its_last_stream_is_named(
    late: float, *, is_due: bool
) -> None:
    ending = Ending()
    ending.enter(Stage.LEAVING, 7)

    stage = ending.due_without_streams(0, 7 + CLOSE_SECONDS + late)

    assert stage is (Stage.CLOSING if is_due else Stage.LEAVING)


def test_own_limits_come_before_those_of_the_parser() -> None:
    """A full set of streams may be on its way, or be reset, at each step."""
    assert REQUESTS + CONCURRENT_STREAMS <= REQUESTS_AT_MOST
    assert REQUESTS_AT_MOST + CONCURRENT_STREAMS <= STREAMS
    assert RESETS < RESETS_AT_MOST
    assert RESETS_AT_MOST + CONCURRENT_STREAMS <= STREAMS_RESET
    assert RESETS < QUICK_RESETS

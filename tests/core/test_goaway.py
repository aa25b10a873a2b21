"""When a connection goes on to its end: each number just below, at and just above."""

import pytest

from gateway.core.goaway import CLOSE_SECONDS, LAST_SECONDS, QUIET_SECONDS, Ending, EndingStage

AROUND = pytest.mark.parametrize(("late", "is_due"), [(-0.1, False), (0, True), (0.1, True)])


def test_stages_only_go_on() -> None:
    ending = Ending()

    assert ending.enter(EndingStage.LEAVING, 0)
    assert not ending.enter(EndingStage.ANNOUNCED, 0)
    assert not ending.enter(EndingStage.LEAVING, 0)
    assert ending.stage is EndingStage.LEAVING


@AROUND
def test_last_stream_is_named_when_the_client_is_quiet(late: float, *, is_due: bool) -> None:
    ending = Ending()
    assert ending.due_without_streams(10 * QUIET_SECONDS, 0) is EndingStage.OPEN
    ending.enter(EndingStage.ANNOUNCED, 0)

    stage = ending.due_without_streams(QUIET_SECONDS + late, 100)

    assert stage is (EndingStage.LEAVING if is_due else EndingStage.ANNOUNCED)


@AROUND
def test_last_stream_is_named_in_time_whatever_the_client_does(
    late: float, *, is_due: bool
) -> None:
    ending = Ending()
    assert ending.due(10 * LAST_SECONDS) is EndingStage.OPEN
    ending.enter(EndingStage.ANNOUNCED, 7)

    stage = ending.due(7 + LAST_SECONDS + late)

    assert stage is (EndingStage.LEAVING if is_due else EndingStage.ANNOUNCED)


@AROUND
def test_connection_closes_a_while_after_its_last_stream_is_named(
    late: float, *, is_due: bool
) -> None:
    ending = Ending()
    ending.enter(EndingStage.LEAVING, 7)
    assert ending.due(10 * LAST_SECONDS) is EndingStage.LEAVING

    stage = ending.due_without_streams(0, 7 + CLOSE_SECONDS + late)

    assert stage is (EndingStage.CLOSING if is_due else EndingStage.LEAVING)

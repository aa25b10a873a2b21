"""The life of an HTTP/1 connection, as sequences of steps."""

from itertools import product

import pytest

from gateway.core.http1_states import MOVES, Step
from gateway.core.limits import Phase


def played(*steps: Step) -> list[Phase]:
    """Return the phases that follow on a new connection."""
    phases = [Phase.IDLE]
    for step in steps:
        phases.append(MOVES[phases[-1], step])
    return phases[1:]


def test_request_without_a_body() -> None:
    assert played(Step.HEAD_BEGUN, Step.REQUEST_READ, Step.ANSWERED, Step.TAKEN) == [
        Phase.HEAD,
        Phase.RUNNING,
        Phase.WRITING,
        Phase.IDLE,
    ]


def test_request_with_a_body_that_is_the_last() -> None:
    steps = (Step.HEAD_BEGUN, Step.HEAD_READ, Step.REQUEST_READ, Step.ANSWERED, Step.ENDED)

    assert played(*steps)[1:] == [Phase.BODY, Phase.RUNNING, Phase.WRITING, Phase.LINGERING]


def test_empty_lines_begin_nothing() -> None:
    assert played(Step.HEAD_BEGUN, Step.LINES_EMPTY) == [Phase.HEAD, Phase.IDLE]


@pytest.mark.parametrize("read", [[], [Step.HEAD_READ]])
def test_what_is_not_read_to_its_end_can_be_refused(read: list[Step]) -> None:
    assert played(Step.HEAD_BEGUN, *read, Step.REFUSED)[-1] is Phase.LINGERING


@pytest.mark.parametrize(
    ("phase", "step"),
    [
        (Phase.RUNNING, Step.REFUSED),
        (Phase.RUNNING, Step.TAKEN),
        (Phase.RUNNING, Step.REQUEST_READ),
        (Phase.WRITING, Step.ANSWERED),
        (Phase.IDLE, Step.ANSWERED),
    ],
)
def test_no_request_is_answered_twice(phase: Phase, step: Step) -> None:
    with pytest.raises(KeyError):
        MOVES[phase, step]


def test_nothing_follows_lingering() -> None:
    assert [step for step in Step if (Phase.LINGERING, step) in MOVES] == []


def test_every_phase_and_every_step_is_in_the_table() -> None:
    assert {phase for phase, _ in MOVES} | set(MOVES.values()) == set(Phase)
    assert {step for _, step in MOVES} == set(Step)
    assert len(MOVES) < len(list(product(Phase, Step)))

"""The life of an HTTP/1 connection, as sequences of steps."""

from itertools import product

import pytest

from gateway.core.http1_states import TRANSITIONS, Input
from gateway.core.limits import Phase


def played(*steps: Input) -> list[Phase]:
    """Return the phases that follow on a new connection."""
    phases = [Phase.IDLE]
    for step in steps:
        phases.append(TRANSITIONS[phases[-1], step])
    return phases[1:]


def test_request_without_a_body() -> None:
    assert played(Input.HEAD_BEGUN, Input.REQUEST_READ, Input.ANSWERED, Input.TAKEN) == [
        Phase.HEAD,
        Phase.RUNNING,
        Phase.WRITING,
        Phase.IDLE,
    ]


def test_request_with_a_body_that_is_the_last() -> None:
    steps = (Input.HEAD_BEGUN, Input.HEAD_READ, Input.REQUEST_READ, Input.ANSWERED, Input.ENDED)

    assert played(*steps)[1:] == [Phase.BODY, Phase.RUNNING, Phase.WRITING, Phase.LINGERING]


def test_empty_lines_begin_nothing() -> None:
    assert played(Input.HEAD_BEGUN, Input.LINES_EMPTY) == [Phase.HEAD, Phase.IDLE]


@pytest.mark.parametrize("read", [[], [Input.HEAD_READ]])
def test_what_is_not_read_to_its_end_can_be_refused(read: list[Input]) -> None:
    assert played(Input.HEAD_BEGUN, *read, Input.REFUSED)[-1] is Phase.LINGERING


@pytest.mark.parametrize(
    ("phase", "step"),
    [
        (Phase.RUNNING, Input.REFUSED),
        (Phase.RUNNING, Input.TAKEN),
        (Phase.RUNNING, Input.REQUEST_READ),
        (Phase.WRITING, Input.ANSWERED),
        (Phase.IDLE, Input.ANSWERED),
    ],
)
def test_no_request_is_answered_twice(phase: Phase, step: Input) -> None:
    with pytest.raises(KeyError):
        TRANSITIONS[phase, step]


def test_nothing_follows_lingering() -> None:
    assert [step for step in Input if (Phase.LINGERING, step) in TRANSITIONS] == []


def test_every_phase_and_every_step_is_in_the_table() -> None:
    assert {phase for phase, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(Phase)
    assert {step for _, step in TRANSITIONS} == set(Input)
    assert len(TRANSITIONS) < len(list(product(Phase, Input)))

"""The circuit breaker as playbooks, and its invariants in any order of inputs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.circuit import (
    TRANSITIONS,
    Abandoned,
    AdmissionRequested,
    Admit,
    AnnounceState,
    Circuit,
    CircuitSettings,
    Effect,
    Failed,
    Input,
    Refuse,
    State,
    Succeeded,
)

SETTINGS = CircuitSettings(failures=2, open_seconds=10.0)

Step = tuple[Input, list[Effect]]

OPENED: list[Step] = [
    (AdmissionRequested(0.0), [Admit(0)]),
    (Failed(0, 0.5), []),
    (AdmissionRequested(1.0), [Admit(0)]),
    (Failed(0, 1.0), [AnnounceState(State.OPEN)]),
]
HALF_OPENED: list[Step] = [
    *OPENED,
    (AdmissionRequested(11.0), [AnnounceState(State.HALF_OPEN), Admit(2)]),
]

PLAYBOOKS: dict[str, list[Step]] = {
    "works": [
        (AdmissionRequested(0.0), [Admit(0)]),
        (Succeeded(0), []),
        (AdmissionRequested(0.0), [Admit(0)]),
    ],
    "failures must be in a row": [
        (Failed(0, 0.0), []),
        (Succeeded(0), []),
        (Failed(0, 1.0), []),
        (AdmissionRequested(1.0), [Admit(0)]),
    ],
    "an invocation without outcome says nothing": [
        (Failed(0, 0.0), []),
        (Abandoned(0), []),
        (Failed(0, 1.0), [AnnounceState(State.OPEN)]),
    ],
    "refuses while open": [
        *OPENED,
        (AdmissionRequested(1.0), [Refuse(10.0)]),
        (AdmissionRequested(10.75), [Refuse(0.25)]),
    ],
    "late outcomes change nothing": [
        *OPENED,
        (Succeeded(0), []),
        (Failed(0, 2.0), []),
        (Abandoned(0), []),
        (AdmissionRequested(2.0), [Refuse(9.0)]),
    ],
    "one tries, the others wait": [*HALF_OPENED, (AdmissionRequested(11.0), [Refuse(0.0)])],
    "another one tries when the first takes long": [
        *HALF_OPENED,
        (AdmissionRequested(20.75), [Refuse(0.0)]),
        (AdmissionRequested(21.0), [Admit(2)]),
        (AdmissionRequested(21.25), [Refuse(0.0)]),
        (Succeeded(2), [AnnounceState(State.CLOSED)]),
        (Failed(2, 22.0), []),
        (AdmissionRequested(23.0), [Admit(3)]),
    ],
    "the try succeeds": [
        *HALF_OPENED,
        (Succeeded(2), [AnnounceState(State.CLOSED)]),
        (AdmissionRequested(11.0), [Admit(3)]),
        (Failed(3, 12.0), []),
        (AdmissionRequested(12.0), [Admit(3)]),
    ],
    "the try fails": [
        *HALF_OPENED,
        (Failed(2, 15.0), [AnnounceState(State.OPEN)]),
        (AdmissionRequested(24.0), [Refuse(1.0)]),
        (AdmissionRequested(25.0), [AnnounceState(State.HALF_OPEN), Admit(4)]),
    ],
    "the try is abandoned: the next one comes at once": [
        *HALF_OPENED,
        (Abandoned(2), [AnnounceState(State.OPEN)]),
        (AdmissionRequested(11.0), [AnnounceState(State.HALF_OPEN), Admit(4)]),
    ],
    "outcomes of before do not decide the try": [
        *HALF_OPENED,
        (Succeeded(0), []),
        (Failed(0, 11.0), []),
        (AdmissionRequested(11.0), [Refuse(0.0)]),
    ],
}


def play(steps: list[Step]) -> Circuit:
    circuit = Circuit(SETTINGS)
    for item, effects in steps:
        assert circuit.receive(item) == effects, item
    return circuit


@pytest.mark.parametrize("steps", PLAYBOOKS.values(), ids=PLAYBOOKS)
def test_playbook(steps: list[Step]) -> None:
    play(steps)


def test_every_move_of_the_table_is_played() -> None:
    played = set()
    for steps in PLAYBOOKS.values():
        circuit = Circuit(SETTINGS)
        for item, _ in steps:
            played.add((circuit.state, type(item)))
            circuit.receive(item)

    assert played >= set(TRANSITIONS)


@pytest.mark.parametrize("item", [Succeeded(1), Failed(1, 2.0), Abandoned(1)])
def test_outcome_where_nothing_is_admitted_is_refused(item: Input) -> None:
    circuit = play(OPENED)
    before = dict(vars(circuit))

    with pytest.raises(KeyError):
        circuit.receive(item)

    assert vars(circuit) == before


def test_defaults_need_five_failures() -> None:
    circuit = Circuit(CircuitSettings())

    effects = [circuit.receive(Failed(0, 0.0)) for _ in range(5)]

    assert effects == [[], [], [], [], [AnnounceState(State.OPEN)]]


STEPS = st.lists(st.tuples(st.sampled_from("asfx"), st.integers(0, 8)), max_size=60)


@given(STEPS)
def test_at_most_one_tries_and_an_open_circuit_admits_nothing(
    steps: list[tuple[str, int]],
) -> None:
    circuit = Circuit(SETTINGS)
    running: list[int] = []
    now = tried_at = 0.0
    for kind, number in steps:
        now += number
        before = circuit.state
        if kind == "a":
            answer = circuit.receive(AdmissionRequested(now))[-1]
            admitted = [answer.period] if isinstance(answer, Admit) else []
            running += admitted
            if admitted and circuit.state is State.HALF_OPEN:  # one tries; a hung try is repeated
                assert before is State.OPEN or now - tried_at >= SETTINGS.open_seconds
                tried_at = now
            assert not (circuit.state is State.OPEN and admitted)
        elif running:
            period = running.pop(number % len(running))
            outcomes = {"s": Succeeded(period), "f": Failed(period, now), "x": Abandoned(period)}
            circuit.receive(outcomes[kind])

"""The life of an environment as playbooks, and its invariants in any order of inputs."""

from itertools import product
from typing import Any

import pytest

from gateway.core import function_errors
from gateway.core.environment import (
    TRANSITIONS,
    Assigned,
    Closed,
    Complete,
    DeadlinePassed,
    Deliver,
    Effect,
    Errored,
    ExecutionEnvironment,
    Exited,
    Free,
    GiveBack,
    InitDone,
    InitErrored,
    Input,
    Kill,
    Limit,
    NotStarted,
    Polled,
    Refused,
    Responded,
    Retire,
    Start,
    State,
    Warmed,
)
from tests.core.environment_inputs import INPUTS, TIMEOUT, inside

EXITED = function_errors.exited("a", 1)


TIMED_OUT = function_errors.timed_out("a", TIMEOUT)


NO_ENTRYPOINT = function_errors.invalid_entrypoint("a", "no file")


EXIT_ERROR = "Runtime.ExitError"


Step = tuple[Input, list[Effect]]


START: Step = (Assigned("a"), [Start(Limit.INIT)])


BEGIN: list[Step] = [START, (Polled(), [InitDone("init"), Deliver("a")])]


ANSWER: Step = (Responded("a", b"1"), [Complete("a", b"1")])


ROUND: list[Step] = [*BEGIN, ANSWER, (Polled(), [Free()])]


FAILED_INIT: list[Step] = [
    START,
    (Exited(1), [InitDone("init", "error", EXIT_ERROR), Kill(), Start(Limit.FUNCTION)]),
]


PLAYBOOKS: dict[str, list[Step]] = {
    "two invocations": [*ROUND, (Assigned("b"), [Deliver("b")])],
    "an error is an answer": [
        *BEGIN,
        (Errored("a", b"{}", "Runtime.X"), [Complete("a", b"{}", "error", "Runtime.X")]),
        (Polled(), [Free()]),
    ],
    "an error after which nothing goes on": [
        *BEGIN,
        (
            Errored("a", b"", "Runtime.X", resets=True),
            [Complete("a", b"", "error", "Runtime.X"), Kill(), Free()],
        ),
        (Assigned("b"), [Start(Limit.FUNCTION)]),
    ],
    "the same event again": [*BEGIN, (Polled(), [Deliver("a", is_new=False)]), ANSWER],
    "a second poll while it waits": [*ROUND, (Polled(), []), (Assigned("b"), [Deliver("b")])],
    "warmed": [
        (Warmed(), [Start(Limit.INIT)]),
        (Polled(), [InitDone("init"), Free()]),
        (Assigned("a"), [Deliver("a")]),
    ],
    "assigned while it warms": [
        (Warmed(), [Start(Limit.INIT)]),
        (Assigned("a"), []),
        (Polled(), [InitDone("init"), Deliver("a")]),
    ],
    "warming fails": [
        (Warmed(), [Start(Limit.INIT)]),
        (
            InitErrored(b"e", "Runtime.ImportModuleError"),
            [InitDone("init", "error", "Runtime.ImportModuleError"), Kill(), Free()],
        ),
        (Assigned("a"), [Start(Limit.FUNCTION)]),
    ],
    "init fails twice: the caller gets what was posted": [
        START,
        (
            InitErrored(b"e"),
            [InitDone("init", "error", "Runtime.Unknown"), Kill(), Start(Limit.FUNCTION)],
        ),
        (
            InitErrored(b"e2", "Runtime.X"),
            [
                InitDone("invoke", "error", "Runtime.X"),
                Complete("a", b"e2", "error", "Runtime.X"),
                Kill(),
                Free(),
            ],
        ),
    ],
    "exits in init twice": [
        *FAILED_INIT,
        (
            Exited(1),
            [
                InitDone("invoke", "error", EXIT_ERROR),
                Complete("a", EXITED, "error", EXIT_ERROR),
                Kill(),
                Free(),
            ],
        ),
    ],
    "the second init works, and its time is the invocation's": [
        *FAILED_INIT,
        (Polled(), [InitDone("invoke"), Deliver("a", is_new=False)]),
        ANSWER,
    ],
    "init takes too long, and again": [
        START,
        (DeadlinePassed(), [InitDone("init", "timeout"), Kill(), Start(Limit.FUNCTION)]),
        (
            DeadlinePassed(),
            [
                InitDone("invoke", "timeout"),
                Complete("a", TIMED_OUT, "timeout"),
                Kill(),
                Free(),
            ],
        ),
    ],
    "cannot be started": [
        START,
        (
            NotStarted("no file"),
            [
                InitDone("init", "error", "Runtime.InvalidEntrypoint"),
                Kill(),
                Start(Limit.FUNCTION),
            ],
        ),
        (
            NotStarted("no file"),
            [
                InitDone("invoke", "error", "Runtime.InvalidEntrypoint"),
                Complete("a", NO_ENTRYPOINT, "error", "Runtime.InvalidEntrypoint"),
                Kill(),
                Free(),
            ],
        ),
    ],
    "times out": [
        *BEGIN,
        (DeadlinePassed(), [Complete("a", TIMED_OUT, "timeout"), Kill(), Free()]),
        (Assigned("b"), [Start(Limit.FUNCTION)]),
    ],
    "exits in an invocation": [
        *BEGIN,
        (Exited(1), [Complete("a", EXITED, "error", EXIT_ERROR), Kill(), Free()]),
    ],
    "exits after its answer": [*BEGIN, ANSWER, (Exited(0), [Kill(), Free(EXIT_ERROR)])],
    "does not come back after its answer": [
        *BEGIN,
        ANSWER,
        (DeadlinePassed(), [Kill(), Free("Sandbox.Timedout")]),
    ],
    "exits while idle": [*ROUND, (Exited(0), [Kill(), Retire()]), (Closed(), [Kill()])],
    "exits and leaves the event unread": [
        *ROUND,
        (Assigned("a"), [Deliver("a")]),
        (Exited(1, has_left_event=True), [Kill(), GiveBack("a", EXITED)]),
        (Closed(), [Kill()]),
    ],
    "warmed again after a timeout": [
        *BEGIN,
        (DeadlinePassed(), [Complete("a", TIMED_OUT, "timeout"), Kill(), Free()]),
        (Warmed(), [Start(Limit.INIT)]),
        (Polled(), [InitDone("init"), Free()]),
    ],
    "closed cold": [(Closed(), [Kill()])],
    "closed while it warms": [(Warmed(), [Start(Limit.INIT)]), (Closed(), [Kill()])],
    "closed idle": [*ROUND, (Closed(), [Kill()])],
    "closed after its answer": [*BEGIN, ANSWER, (Closed(), [Kill(), Free()])],
    **{
        f"closed in the middle, {name}": [
            *steps,
            (
                Closed(),
                [
                    Complete("a", function_errors.exited("a", None), "error", EXIT_ERROR),
                    Kill(),
                    Free(),
                ],
            ),
        ]
        for name, steps in {"init": [START], "again": FAILED_INIT, "busy": BEGIN}.items()
    },
}


def play(steps: list[Step]) -> ExecutionEnvironment:
    environment = ExecutionEnvironment(TIMEOUT)
    for item, effects in steps:
        assert environment.receive(item) == effects, item
    return environment


@pytest.mark.parametrize("steps", PLAYBOOKS.values(), ids=PLAYBOOKS)
def test_playbook(steps: list[Step]) -> None:
    play(steps)


REACHED: dict[State, list[Step]] = {
    State.COLD: [],
    State.INIT: [START],
    State.INIT_IN_INVOKE: FAILED_INIT,
    State.IDLE: ROUND,
    State.BUSY: BEGIN,
    State.RESPONDED: [*BEGIN, ANSWER],
    State.SPENT: [*ROUND, (Exited(0), [Kill(), Retire()])],
    State.CLOSED: [(Closed(), [Kill()])],
}


def test_every_move_of_the_table_is_played() -> None:
    played = set()
    for steps in PLAYBOOKS.values():
        environment = ExecutionEnvironment(TIMEOUT)
        for item, _ in steps:
            played.add((environment.state, type(item)))
            environment.receive(item)

    assert played == set(TRANSITIONS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("item", INPUTS, ids=lambda item: type(item).__name__)
def test_what_the_table_does_not_have_is_refused_and_changes_nothing(
    state: State, item: Input
) -> None:
    environment = play(REACHED[state])
    assert environment.state is state
    if (state, type(item)) in TRANSITIONS:
        environment.receive(item)
        return
    before = inside(environment)

    with pytest.raises(Refused):
        environment.receive(item)

    assert inside(environment) == before


def refusal(steps: list[Step], item: Input) -> tuple[int, str, str]:
    with pytest.raises(Refused) as refused:
        play(steps).receive(item)
    return refused.value.status, refused.value.error_type, str(refused.value)


def not_allowed(there: str, wanted: str) -> tuple[int, str, str]:
    text = (
        f"State transition from {there} to {wanted} failed for runtime. "
        "Error: State transition is not allowed"
    )
    return 403, "InvalidStateTransition", text


UNKNOWN = (400, "InvalidRequestID", "Invalid request ID")


RESPONSE, ERROR = Responded("a", b""), Errored("a", b"")


@pytest.mark.parametrize(
    ("steps", "item", "expected"),
    [
        ([*BEGIN, ANSWER], RESPONSE, ("RuntimeResponseSentState", "InvocationResponse")),
        ([*BEGIN, ANSWER], ERROR, ("RuntimeResponseSentState", "InvocationErrorResponse")),
        ([*BEGIN, ANSWER], InitErrored(b""), ("RuntimeResponseSentState", "InitError")),
        (ROUND, RESPONSE, ("Ready", "InvocationResponse")),
        (ROUND, InitErrored(b""), ("Ready", "InitError")),
        (BEGIN, InitErrored(b""), ("Running", "InitError")),
        ([], Polled(), ("Started", "Ready")),
        ([(Closed(), [Kill()])], Polled(), ("Terminated", "Ready")),
    ],
)
def test_a_message_that_comes_at_the_wrong_time_is_refused_with_403(
    steps: list[Step], item: Input, expected: tuple[str, str]
) -> None:
    assert refusal(steps, item) == not_allowed(*expected)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", [Responded, Errored])
def test_an_answer_to_an_unknown_invocation_is_400_in_any_state(state: State, kind: Any) -> None:
    assert refusal(REACHED[state], kind("foreign", b"")) == UNKNOWN


@pytest.mark.parametrize(
    "steps",
    [
        [START],
        FAILED_INIT,
        [*ROUND, (Assigned("b"), [Deliver("b")])],
        REACHED[State.SPENT],
        PLAYBOOKS["times out"],
    ],
    ids=["before its delivery", "before the second", "after the next", "after an exit", "too late"],
)
def test_an_answer_out_of_its_time_is_400(steps: list[Step]) -> None:
    assert refusal(steps, RESPONSE) == UNKNOWN


def test_the_table_knows_every_input_and_state() -> None:
    kinds = {type(item) for item in INPUTS}

    assert {kind for _, kind in TRANSITIONS} == kinds
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.CLOSED}
    assert len(list(product(State, kinds))) > len(TRANSITIONS)


def test_an_answer_can_be_checked_before_it_is_there() -> None:
    environment = ExecutionEnvironment(3.0)
    environment.receive(Assigned("a"))
    environment.receive(Polled())

    for kind in (Responded, Errored):
        assert environment.check(kind, "a") is State.RESPONDED
        with pytest.raises(Refused) as refused:
            environment.check(kind, "b")
        assert refused.value.error_type == "InvalidRequestID"
    with pytest.raises(Refused):
        environment.check(InitErrored)
    assert environment.state is State.BUSY

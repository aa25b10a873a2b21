"""The life of an environment as playbooks, and its invariants in any order of inputs."""

from itertools import count, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

TIMEOUT = 3.0
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

INPUTS: list[Input] = [
    Warmed(),
    Assigned("n"),
    Polled(),
    Responded("a", b""),
    Errored("a", b""),
    InitErrored(b""),
    NotStarted(""),
    Exited(0),
    Exited(9, has_left_event=True),
    DeadlinePassed(),
    Closed(),
]


def inside(environment: ExecutionEnvironment) -> dict[str, Any]:
    return dict(vars(environment))


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


@given(
    st.lists(st.tuples(st.integers(0, len(INPUTS) - 1), st.booleans(), st.booleans()), max_size=60)
)
def test_whatever_comes_each_invocation_is_completed_once(
    moves: list[tuple[int, bool, bool]],
) -> None:
    """Assign as a pool does, only what is free; everything else comes in any order."""
    world = Ledger()
    for index, is_foreign, resets in moves:
        world.tell(index, is_foreign=is_foreign, resets=resets)
    world.receive(Closed())

    assert world.completed + world.given_back == world.assigned
    assert world.freed == len(world.completed) + world.freed_warmings
    assert not world.has_process
    assert not world.has_changed
    assert world.statuses <= {400, 403}


class Ledger:
    """Sends inputs to an environment and counts what it wants done."""

    def __init__(self) -> None:
        self.environment = ExecutionEnvironment(TIMEOUT)
        self.assigned: list[str] = []
        self.completed: list[str] = []
        self.given_back: list[str] = []
        """At most the last one: then the environment is spent."""
        self.delivered: set[str] = set()
        self.freed = self.freed_warmings = 0
        self.has_process = False
        self.is_free, self.is_warming = True, False
        self._ids = map(str, count())
        self.statuses: set[int] = set()
        self.has_changed = False

    def tell(self, index: int, *, is_foreign: bool, resets: bool) -> None:
        item = INPUTS[index]
        current = self.assigned[-1] if self.assigned and not is_foreign else "foreign"
        if isinstance(item, Assigned | Warmed):
            if not self.is_free:
                return
            item = Assigned(next(self._ids)) if isinstance(item, Assigned) else Warmed()
        elif isinstance(item, Responded):
            item = Responded(current, b"r")
        elif isinstance(item, Errored):
            item = Errored(current, b"e", resets=resets)
        elif isinstance(item, Exited | NotStarted) and not self.has_process:
            return
        self.receive(item)

    def receive(self, item: Input) -> None:
        before = inside(self.environment)
        try:
            effects = self.environment.receive(item)
        except Refused as refused:
            self.statuses.add(refused.status)
            self.has_changed |= inside(self.environment) != before
            return
        if isinstance(item, Assigned):
            self.assigned.append(item.request_id)
            self.is_free = False
        elif isinstance(item, Warmed):
            self.is_free, self.is_warming = False, True
        for effect in effects:
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        match effect:
            case Start():
                assert not self.has_process, "one process at a time"
                self.has_process = True
            case Kill():
                self.has_process = False
            case Deliver():
                assert effect.request_id == self.assigned[-1]
                assert self.has_process
                assert effect.is_new or effect.request_id not in self.completed
            case Complete():
                assert effect.request_id == self.assigned[-1]
                assert effect.request_id not in self.completed
                self.completed.append(effect.request_id)
            case GiveBack():
                assert effect.request_id == self.assigned[-1]
                assert effect.request_id not in self.completed
                self.given_back.append(effect.request_id)
            case Retire():
                assert self.is_free
            case Free():
                assert not self.is_free, "free once"
                assert self.completed == self.assigned
                self.freed += 1
                self.freed_warmings += self.is_warming
                self.is_free, self.is_warming = True, False


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

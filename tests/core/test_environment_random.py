"""Whatever an execution environment is told: each invocation is completed once."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.environment import (
    Assigned,
    Closed,
    Complete,
    Deliver,
    Effect,
    Errored,
    ExecutionEnvironment,
    Exited,
    Free,
    GiveBack,
    Input,
    Kill,
    NotStarted,
    Refused,
    Responded,
    Retire,
    Start,
    Warmed,
)
from tests.core.environment_inputs import INPUTS, TIMEOUT, inside


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

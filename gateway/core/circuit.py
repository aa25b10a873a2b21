"""A circuit breaker: after several platform failures in a row a function is left alone for a while,
then one invocation tries whether it has recovered.

The invoker asks before each invocation and reports its outcome. What was admitted before the state
changed says nothing about the state after it: each admission has the number of its period, and an
outcome with an earlier number changes nothing.
"""

from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    """The state of a circuit."""

    CLOSED = auto()
    """Everything is admitted."""
    OPEN = auto()
    """Nothing is."""
    HALF_OPEN = auto()
    """One invocation tries, and another one whenever that takes as long as the circuit was open;
    nothing else is admitted."""


# Inputs: what happened.


@dataclass(frozen=True, slots=True)
class AdmissionRequested:
    """An invocation waits for admission, at these seconds of a clock that never goes back."""

    at: float


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The platform answered, whatever it said."""

    period: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The platform failed, at these seconds."""

    period: int
    at: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The invocation ended without an outcome: its caller left."""

    period: int


Input = AdmissionRequested | Succeeded | Failed | Abandoned


# Effects: what to do about it.


@dataclass(frozen=True, slots=True)
class Admit:
    """Invoke, and report with this number."""

    period: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not invoke; after these seconds one may try, 0.0 while one is trying."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AnnounceState:
    """Tell the operator about the state."""

    state: State


Effect = Admit | Refuse | AnnounceState


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """When a circuit opens, and for how long."""

    failures: int = 5
    """Platform failures in a row that open it."""
    open_seconds: float = 10.0
    """From opening to the first try."""


TRANSITIONS: dict[tuple[State, type[Input]], tuple[State, State]] = {
    (State.CLOSED, AdmissionRequested): (State.CLOSED, State.CLOSED),
    (State.CLOSED, Succeeded): (State.CLOSED, State.CLOSED),
    (State.CLOSED, Failed): (State.CLOSED, State.OPEN),
    (State.CLOSED, Abandoned): (State.CLOSED, State.CLOSED),
    (State.OPEN, AdmissionRequested): (State.OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, AdmissionRequested): (State.HALF_OPEN, State.HALF_OPEN),
    (State.HALF_OPEN, Succeeded): (State.CLOSED, State.CLOSED),
    (State.HALF_OPEN, Failed): (State.OPEN, State.OPEN),
    (State.HALF_OPEN, Abandoned): (State.OPEN, State.OPEN),
}
"""Where each input leads: as long as the limit is not reached, and once it is. The limit is the
number of failures in CLOSED, the time in OPEN. Outcomes of an earlier period lead nowhere."""


class Circuit:
    """Turns what happens to one function's platform into what has to be done."""

    def __init__(self, settings: CircuitSettings) -> None:
        self._settings = settings
        self._state = State.CLOSED
        self._period = 0
        self._failures = 0
        """In a row, while CLOSED."""
        self._opened_at = 0.0
        self._tried_at = 0.0

    @property
    def state(self) -> State:
        """Return the state of the circuit."""
        return self._state

    def receive(self, item: Input, /) -> list[Effect]:
        """Return what to do: for AdmissionRequested one Admit or Refuse, after any AnnounceState.

        Raises KeyError for an outcome in a state that admits nothing, and then changes nothing.
        """
        if not isinstance(item, AdmissionRequested) and item.period != self._period:
            return []
        before = self._state
        moves = TRANSITIONS[before, type(item)]
        self._count(item)
        self._state = moves[self._is_at_limit(item)]
        announced: list[Effect] = []
        if self._state is not before:
            self._enter(item)
            announced.append(AnnounceState(self._state))
        return [*announced, *self._answer(item, before)]

    def _count(self, item: Input) -> None:
        if isinstance(item, Failed):
            self._failures += 1
        elif isinstance(item, Succeeded):
            self._failures = 0

    def _is_at_limit(self, item: Input) -> bool:
        if isinstance(item, AdmissionRequested):
            return item.at - self._opened_at >= self._settings.open_seconds
        return self._failures >= self._settings.failures

    def _enter(self, item: Input) -> None:
        self._period += 1
        if isinstance(item, Failed):
            self._opened_at = item.at  # an abandoned try may be made again at once
        if self._state is State.CLOSED:
            self._failures = 0

    def _answer(self, item: Input, before: State) -> list[Effect]:
        """Return Admit or Refuse for a request, nothing for an outcome."""
        if not isinstance(item, AdmissionRequested):
            return []
        is_due = before is State.OPEN or item.at - self._tried_at >= self._settings.open_seconds
        if self._state is State.CLOSED or (self._state is State.HALF_OPEN and is_due):
            self._tried_at = item.at
            return [Admit(self._period)]
        left = self._opened_at + self._settings.open_seconds - item.at
        return [Refuse(max(left, 0.0))]

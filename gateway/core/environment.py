"""The life of an execution environment over the Runtime API (lambda.md 1.4, 1.10).

An environment outlives its processes: after a crash or a timeout it is COLD again, and its next
invocation starts a process inside its own time ("suppressed init"). Once such an init has failed,
or an idle process has ended, it is SPENT: the next invocation belongs to a fresh environment, whose
init has the limit of an init phase again. RESPONDED is a state of its own because after the answer
an environment is not free until its runtime polls again.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar

from gateway.core import function_errors


class State(Enum):
    """The state of an environment."""

    COLD = auto()
    """No process runs."""
    INIT = auto()
    """The process loads user code, within the limit of the init phase."""
    INIT_IN_INVOKE = auto()
    """The same inside an invocation, within the function's timeout."""
    IDLE = auto()
    """The runtime waits for an event."""
    BUSY = auto()
    RESPONDED = auto()
    """The answer is there, the runtime has not polled again."""
    SPENT = auto()
    """No process runs, and none is started any more."""
    CLOSED = auto()


# Inputs: what happened.


@dataclass(slots=True)
class Warmed:
    """The environment shall initialise ahead of its first invocation."""


@dataclass(slots=True)
class Assigned:
    """An invocation came."""

    request_id: str


@dataclass(slots=True)
class Polled:
    """The runtime asked for the next event."""


@dataclass(slots=True)
class Responded:
    """The runtime posted a response."""

    request_id: str
    payload: bytes


@dataclass(slots=True)
class Errored:
    """The runtime posted the error of an invocation."""

    request_id: str
    payload: bytes
    error_type: str = ""
    resets: bool = False
    """Whether the environment cannot go on after it."""


@dataclass(slots=True)
class InitErrored:
    """The runtime posted an error of its init phase."""

    payload: bytes
    error_type: str = ""


@dataclass(slots=True)
class NotStarted:
    """The process could not be started."""

    why: str


@dataclass(slots=True)
class Exited:
    """The process ended by itself; the status is as `subprocess` has it."""

    status: int | None
    has_left_event: bool = False
    """Whether the event is known to lie unread in the connection: nothing has been executed."""


@dataclass(slots=True)
class DeadlinePassed:
    """The limit set last is over."""


@dataclass(slots=True)
class Closed:
    """The environment is not needed any more."""


Input = (
    Warmed
    | Assigned
    | Polled
    | Responded
    | Errored
    | InitErrored
    | NotStarted
    | Exited
    | DeadlinePassed
    | Closed
)


# Effects: what the owner has to do, in this order.


class Limit(Enum):
    """Which time limit runs."""

    INIT = auto()
    FUNCTION = auto()


@dataclass(slots=True)
class Start:
    """Start a process, once the one before is gone, and count this limit from now."""

    limit: Limit


@dataclass(slots=True)
class Deliver:
    """Give the event to the runtime that polled; a new one counts the function's timeout."""

    request_id: str
    is_new: bool = True


@dataclass(slots=True)
class InitDone:
    """The init phase ended; `phase` is `init` or `invoke`, `status` as a log line has it."""

    phase: str
    status: str = "success"
    error_type: str = ""


@dataclass(slots=True)
class Complete:
    """Answer the caller."""

    request_id: str
    payload: bytes
    status: str = "success"
    """`success`, `error` or `timeout`."""
    error_type: str = ""


@dataclass(slots=True)
class GiveBack:
    """Tell the caller that no process has received the event, so that another environment may."""

    request_id: str
    payload: bytes
    """What the caller gets when there is no other."""


@dataclass(slots=True)
class Kill:
    """End the process and everything that it started."""


@dataclass(slots=True)
class Free:
    """The invocation, or the init ahead of one, is over, and the environment can take another
    unless it is spent or closed; `failure` is set when the runtime ended after its answer."""

    failure: str = ""


@dataclass(slots=True)
class Retire:
    """Say that the environment, which was idle, is spent."""


Effect = Start | Deliver | InitDone | Complete | GiveBack | Kill | Free | Retire


class Refused(Exception):
    """A message that the state does not allow; nothing has changed."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


def refused_transition(there: str, wanted: str) -> Refused:
    """Return the refusal of a move between states, in the words of RIE (core/states.go)."""
    text = (
        f"State transition from {there} to {wanted} failed for runtime. "
        "Error: State transition is not allowed"
    )
    return Refused(403, "InvalidStateTransition", text)


TRANSITIONS: dict[tuple[State, type], State] = {
    (State.COLD, Warmed): State.INIT,
    (State.COLD, Assigned): State.INIT,
    (State.INIT, Assigned): State.INIT,
    (State.INIT, Polled): State.IDLE,
    (State.INIT, InitErrored): State.COLD,
    (State.INIT, NotStarted): State.COLD,
    (State.INIT, Exited): State.COLD,
    (State.INIT, DeadlinePassed): State.COLD,
    (State.INIT_IN_INVOKE, Polled): State.IDLE,
    (State.INIT_IN_INVOKE, InitErrored): State.SPENT,
    (State.INIT_IN_INVOKE, NotStarted): State.SPENT,
    (State.INIT_IN_INVOKE, Exited): State.SPENT,
    (State.INIT_IN_INVOKE, DeadlinePassed): State.SPENT,
    (State.IDLE, Assigned): State.BUSY,
    (State.IDLE, Polled): State.IDLE,
    (State.IDLE, Exited): State.SPENT,
    (State.BUSY, Polled): State.BUSY,
    (State.BUSY, Responded): State.RESPONDED,
    (State.BUSY, Errored): State.RESPONDED,
    (State.BUSY, Exited): State.COLD,
    (State.BUSY, DeadlinePassed): State.COLD,
    (State.RESPONDED, Polled): State.IDLE,
    (State.RESPONDED, Exited): State.COLD,
    (State.RESPONDED, DeadlinePassed): State.COLD,
} | {(state, Closed): State.CLOSED for state in State if state is not State.CLOSED}
"""Every legal move; COLD after a failed init may go on to INIT_IN_INVOKE at once, and COLD after an
exit that left the event unread is SPENT."""

RUNTIME_STATES = {
    State.COLD: "Started",
    State.INIT: "Started",
    State.INIT_IN_INVOKE: "Started",
    State.IDLE: "Ready",
    State.BUSY: "Running",
    State.RESPONDED: "RuntimeResponseSentState",
    State.SPENT: "Terminated",
    State.CLOSED: "Terminated",
}
"""AWS's words for the states, in refusals (lambda.md 1.4; RIE core/states.go)."""

ANSWER_STATES = {
    Responded: "InvocationResponse",
    Errored: "InvocationErrorResponse",
    InitErrored: "InitError",
    Polled: "Ready",
}


class ExecutionEnvironment:
    """Turns what happens to one environment into what has to be done."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._state = State.COLD
        self._request_id = ""
        """The invocation that was assigned and is not answered."""
        self._answered = ""
        """The last invocation that was answered, until the runtime gets another or ends."""
        self._has_initialised = False
        """Whether an init phase has been tried: later ones belong to an invocation."""

    @property
    def state(self) -> State:
        """Return the state of the environment."""
        return self._state

    def receive(self, item: Input, /) -> list[Effect]:
        """Return what has to be done now; raises Refused and then has changed nothing."""
        kind = type(item)
        state = self.check(kind, getattr(item, "request_id", ""))
        before, self._state = self._state, state
        effects: list[Effect] = self.REACTIONS[kind](self, item, before)
        return effects

    def check(self, kind: type[Input], request_id: str = "") -> State:
        """Return the state after an input of this kind; raises Refused for an illegal move."""
        if kind is Responded or kind is Errored:
            self._check_request(request_id)
        state = TRANSITIONS.get((self._state, kind))
        if state is None:
            raise self._refusal(kind)
        return state

    def _check_request(self, request_id: str) -> None:
        """Refuse an answer to an invocation that this environment does not have."""
        delivered = self._request_id if self._state is State.BUSY else self._answered
        if not delivered or request_id != delivered:
            raise Refused(400, "InvalidRequestID", "Invalid request ID")

    def _refusal(self, kind: type) -> Refused:
        wanted = ANSWER_STATES.get(kind, kind.__name__)
        return refused_transition(RUNTIME_STATES[self._state], wanted)

    # Reactions: the state has changed already, `before` is the one before.

    def _on_warmed(self, _item: Warmed, _before: State) -> list[Effect]:
        self._has_initialised = True
        return [Start(Limit.INIT)]

    def _on_assigned(self, item: Assigned, before: State) -> list[Effect]:
        self._request_id = item.request_id
        if before is State.IDLE:
            return [Deliver(item.request_id)]
        if before is State.INIT:
            return []
        return self._started()

    def _started(self) -> list[Effect]:
        """Start a process for the assigned invocation: the first one has a phase of its own."""
        if self._has_initialised:
            self._state = State.INIT_IN_INVOKE
            return [Start(Limit.FUNCTION)]
        self._has_initialised = True
        return [Start(Limit.INIT)]

    def _on_polled(self, _item: Polled, before: State) -> list[Effect]:
        if before is State.BUSY:  # it gets the same event again (lambda.md 1.4)
            return [Deliver(self._request_id, is_new=False)]
        if before is State.RESPONDED:
            return [Free()]
        if before is State.IDLE:
            return []
        return self._initialised(before)

    def _initialised(self, before: State) -> list[Effect]:
        is_inside = before is State.INIT_IN_INVOKE
        done = InitDone("invoke" if is_inside else "init")
        if not self._request_id:
            return [done, Free()]
        self._state = State.BUSY
        return [done, Deliver(self._request_id, is_new=not is_inside)]

    def _on_responded(self, item: Responded, _before: State) -> list[Effect]:
        return [self._complete(item.payload)]

    def _on_errored(self, item: Errored, _before: State) -> list[Effect]:
        complete = self._complete(item.payload, "error", item.error_type)
        if not item.resets:
            return [complete]
        self._state = State.COLD
        return [complete, *self._over()]

    def _on_init_errored(self, item: InitErrored, before: State) -> list[Effect]:
        error_type = item.error_type or "Runtime.Unknown"
        return self._init_failed(before, "error", error_type, item.payload)

    def _on_not_started(self, item: NotStarted, before: State) -> list[Effect]:
        payload = function_errors.invalid_entrypoint(self._request_id, item.why)
        return self._init_failed(before, "error", "Runtime.InvalidEntrypoint", payload)

    def _on_exited(self, item: Exited, before: State) -> list[Effect]:
        payload = function_errors.exited(self._request_id, item.status)
        if before is State.INIT or before is State.INIT_IN_INVOKE:
            return self._init_failed(before, "error", "Runtime.ExitError", payload)
        if before is State.BUSY and item.has_left_event:
            return self._undelivered(payload)
        if before is State.BUSY:
            complete = self._complete(payload, "error", "Runtime.ExitError")
            return [complete, *self._over()]
        if before is State.RESPONDED:
            return self._over("Runtime.ExitError")
        self._answered = ""
        return [Kill(), Retire()]  # it was idle: what it started must not stay

    def _undelivered(self, payload: bytes) -> list[Effect]:
        """Give the invocation back: as the process ended before it, the environment was idle."""
        self._state = State.SPENT
        request_id, self._request_id = self._request_id, ""
        return [Kill(), GiveBack(request_id, payload)]

    def _on_deadline_passed(self, _item: DeadlinePassed, before: State) -> list[Effect]:
        if before is State.INIT:
            return self._init_failed(before, "timeout", "", b"")
        if before is State.RESPONDED:
            return self._over("Sandbox.Timedout")
        payload = function_errors.timed_out(self._request_id, self._timeout_seconds)
        done = [InitDone("invoke", "timeout")] if before is State.INIT_IN_INVOKE else []
        return [*done, self._complete(payload, "timeout"), *self._over()]

    def _on_closed(self, _item: Closed, before: State) -> list[Effect]:
        if before is State.RESPONDED:
            return [Kill(), Free()]
        if not self._request_id:
            return [Kill()]
        payload = function_errors.exited(self._request_id, None)
        return [self._complete(payload, "error", "Runtime.ExitError"), Kill(), Free()]

    def _init_failed(
        self, before: State, status: str, error_type: str, payload: bytes
    ) -> list[Effect]:
        """Try again inside the invocation, if there is one and it was not tried there already."""
        if before is State.INIT_IN_INVOKE:
            done = InitDone("invoke", status, error_type)
            return [done, self._complete(payload, "error", error_type), *self._over()]
        done = InitDone("init", status, error_type)
        if self._request_id:
            return [done, Kill(), *self._started()]
        return [done, *self._over()]

    def _complete(self, payload: bytes, status: str = "success", error_type: str = "") -> Complete:
        self._answered, self._request_id = self._request_id, ""
        return Complete(self._answered, payload, status, error_type)

    def _over(self, failure: str = "") -> list[Effect]:
        """End the process; unless the environment is spent, what comes next starts another."""
        self._answered = ""
        return [Kill(), Free(failure)]

    REACTIONS: ClassVar[dict[type, Any]] = {
        Warmed: _on_warmed,
        Assigned: _on_assigned,
        Polled: _on_polled,
        Responded: _on_responded,
        Errored: _on_errored,
        InitErrored: _on_init_errored,
        NotStarted: _on_not_started,
        Exited: _on_exited,
        DeadlinePassed: _on_deadline_passed,
        Closed: _on_closed,
    }

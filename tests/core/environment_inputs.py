"""Every kind of input of an execution environment."""

from typing import Any

from gateway.core.environment import (
    Assigned,
    Closed,
    DeadlinePassed,
    Errored,
    ExecutionEnvironment,
    Exited,
    InitErrored,
    Input,
    NotStarted,
    Polled,
    Responded,
    Warmed,
)

TIMEOUT = 3.0


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

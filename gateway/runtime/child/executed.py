"""What an executed child does: it becomes what its plan says, and executes the plan's command.

This file imports nothing of ours but sandbox.py, which is beside it; an interpreter runs `BOOT`.
"""

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:  # typing and signal would cost a child 14 ms
    import _signal as signal

    Any = object  # in annotations: __future__ would cost a child 0.2 ms

if TYPE_CHECKING or __package__:
    from gateway.runtime.child import sandbox
else:
    import sandbox

_NOT_EXECUTED = 126


def main(arguments: list[str]) -> None:
    """Execute the plan at standard input; an error is written to a descriptor that exec closes.

    Arguments are that descriptor, the process id of the parent, and descriptors of namespaces. The
    plan is marshalled: the same interpreter wrote it, and importing json would take 8 ms.
    """
    status, parent, *namespaces = map(int, arguments)
    try:
        for descriptor in (status, *namespaces):
            os.set_inheritable(descriptor, False)  # noqa: FBT003
        plan = _read_plan()
        sandbox.enter(plan, tuple(namespaces))
        _reset_signals()
        if os.getppid() == parent:
            _execute(plan)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
        os.write(status, str(error).encode(errors="replace"))
    os._exit(_NOT_EXECUTED)


def _read_plan() -> dict[str, Any]:
    """Read all of standard input and put /dev/null in its place."""
    with open(0, "rb") as file:
        plan: dict[str, Any] = marshal.loads(file.read())  # noqa: S302
    os.open("/dev/null", os.O_RDWR)
    os.set_inheritable(0, True)  # noqa: FBT003
    return plan


def _reset_signals() -> None:
    """Undo what Python ignores, and what the gateway was started with."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not None:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _execute(plan: dict[str, Any]) -> None:
    """Become the command; raises OSError that tells a missing file from a missing interpreter."""
    path = plan["command"][0]
    try:
        os.execvpe(path, plan["command"], plan["environ"])  # noqa: S606
    except FileNotFoundError as error:
        if os.path.exists(path):
            error.strerror = "its interpreter is missing"
        error.filename = path
        raise
    except OSError as error:
        error.filename = path
        raise

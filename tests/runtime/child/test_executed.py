"""An executed child: it becomes its command, or says why not, and brings nothing of ours along."""

import marshal
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from gateway.runtime.confinement import BOOT
from gateway.runtime.launch import Plan
from tests.runtime.launching import python_plan

pytestmark = pytest.mark.slow


def executed(plan: Plan, parent: int | None = None) -> tuple[int, str, str]:
    """Run a plan as the launcher does; return status, output and complaint."""
    complaint, theirs = os.pipe()
    command = [sys.executable, "-I", "-S", "-c", BOOT, str(theirs), str(parent or os.getpid())]
    done = subprocess.run(
        command,
        input=marshal.dumps(asdict(plan)),
        capture_output=True,
        check=False,
        pass_fds=[theirs],
    )
    os.close(theirs)
    with open(complaint, "rb") as file:  # noqa: PTH123 - a descriptor
        return done.returncode, done.stdout.decode().strip(), file.read().decode()


def test_command_runs_in_place_of_the_child() -> None:
    code = "import os, sys; print(os.getppid(), sys.stdin.read() == '', os.environ['A'])"

    assert executed(python_plan(code, {"A": "1"})) == (0, f"{os.getpid()} True 1", "")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("/no/such/file", "[Errno 2] No such file or directory: '/no/such/file'"),
        ("/etc/passwd", "[Errno 13] Permission denied: '/etc/passwd'"),
    ],
)
def test_command_that_cannot_be_executed_is_named(command: str, complaint: str) -> None:
    plan = replace(python_plan(""), command=(command,))

    assert executed(plan) == (126, "", complaint)


def test_plan_that_cannot_be_entered_says_why() -> None:
    plan = replace(python_plan(""), directory="/no/such/directory")

    status, _, complaint = executed(plan)
    assert (status, "/no/such/directory" in complaint) == (126, True)


def test_child_whose_parent_has_gone_executes_nothing() -> None:
    assert executed(python_plan("print('executed')"), parent=1) == (126, "", "")


def test_signals_are_as_in_a_fresh_process() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN,"
    code += " signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        status, text, _ = executed(python_plan(code))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    assert (status, text) == (0, "True set()")  # Python ignores SIGPIPE itself

"""Processes below one process: found, told apart and killed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.runtime.child.fork_processes import (
    descendants,
    has_children,
    kill,
    kill_group,
    marker_of,
    own_children,
)
from tests.runtime.launching import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
]

PARENT = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "100"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def parent() -> Iterator[tuple[int, int]]:
    """A process with a child, in a group of their own."""
    variables = {**os.environ, "AWS_LAMBDA_LOG_STREAM_NAME": "marked"}
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env=variables,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        kill_group(process.pid)


async def test_children_and_theirs_are_found(parent: tuple[int, int]) -> None:
    pid, child = parent

    assert pid in own_children()
    assert child not in own_children()
    assert {pid, child} <= descendants()
    assert has_children()
    await until(lambda: marker_of(child) == "marked")  # Linux shows variables just after the exec


async def test_a_group_is_killed_whole(parent: tuple[int, int]) -> None:
    pid, child = parent
    kill_group(pid)

    await until(lambda: not Path(f"/proc/{child}").exists())


def test_what_is_gone_is_not_missed() -> None:
    gone = 2**22 + 1  # above the kernel's limit for process ids
    kill(gone)
    kill_group(gone)

    assert marker_of(gone) is None

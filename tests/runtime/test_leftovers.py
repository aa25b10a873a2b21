"""What a killed gateway left is cleared away, and nothing else is."""

# ruff: noqa: ASYNC240 - nothing else runs meanwhile

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.runtime.confinement import Abilities
from gateway.runtime.control_groups import ControlGroups
from gateway.runtime.leftovers import sweep
from gateway.runtime.owner import own_prefix
from tests.runtime.launching import abilities, is_any_there, need_memory_group, until
from tests.runtime.test_owner import prefix_of_the_dead

pytestmark = pytest.mark.slow


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory for temporary files of this test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_directories_of_dead_gateways_are_removed_with_what_is_in_them(temporary: Path) -> None:
    left = temporary / f"{prefix_of_the_dead()}abc"
    (left / "deep").mkdir(parents=True)
    (left / "deep" / "file").write_text("x")

    sweep(Abilities())

    assert list(temporary.iterdir()) == []


def test_everything_else_is_left_alone(temporary: Path) -> None:
    dead, elsewhere = prefix_of_the_dead(), temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    (temporary / f"{own_prefix()}abc").mkdir()
    (temporary / "gateway-notes").mkdir()
    (temporary / f"{dead}file").write_text("x")
    (temporary / f"{dead}link").symlink_to(elsewhere)
    before = sorted(temporary.rglob("*"))

    sweep(Abilities())

    assert sorted(temporary.rglob("*")) == before


def test_directory_of_another_user_is_left_alone(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = temporary / f"{prefix_of_the_dead()}abc"
    left.mkdir()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)

    sweep(Abilities())

    assert left.is_dir()


def test_directory_that_cannot_be_listed_is_passed_over(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "missing"))

    sweep(Abilities())

    assert list(temporary.iterdir()) == []


MAKE_AND_DIE = """
import os, subprocess, sys
from gateway.runtime.control_groups import ControlGroups
from tests.runtime.launching import abilities
groups = ControlGroups(abilities().hierarchies, memory_bytes=2**26, processes=16)
groups.make()
pids = []
if sys.argv[1:]:
    orphan = subprocess.Popen([sys.executable, "-c", sys.argv[1], *groups.directories],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    orphan.stdout.readline()
    pids = [orphan.pid]
print(*pids, *groups.directories, sep="\\n", flush=True)
os.kill(os.getpid(), 9)
"""

ENTER_AND_STAY = """
import os, signal, sys
for group in sys.argv[1:]:
    os.makedirs(f"{group}/inner/most")
    open(f"{group}/inner/most/cgroup.procs", "w").write("0")
print("ready", flush=True)
signal.pause()
"""


def left_behind(*arguments: str) -> list[str]:
    """Return what a process says that made control groups and was killed."""
    command = [sys.executable, "-c", MAKE_AND_DIE, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    assert done.returncode == -signal.SIGKILL
    return done.stdout.splitlines()


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# Any gateway that starts on this machine meanwhile sweeps, too.


async def test_groups_of_dead_gateways_are_removed_and_those_of_the_living_are_not(
    temporary: Path,
) -> None:
    need_memory_group()
    left = left_behind()
    async with ControlGroups(abilities().hierarchies, memory_bytes=2**26, processes=16) as groups:
        sweep(abilities())

        assert (len(left), is_any_there(left)) == (len(groups.directories), False)
        assert all(Path(path).is_dir() for path in groups.directories)


async def test_what_still_runs_in_groups_of_the_dead_is_killed(temporary: Path) -> None:
    need_memory_group()
    pid, *left = left_behind(ENTER_AND_STAY)
    try:
        sweep(abilities())

        await until(lambda: not is_running(int(pid)))
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    sweep(abilities())
    assert not is_any_there(left)

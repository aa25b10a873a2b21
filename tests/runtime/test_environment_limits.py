"""The limits of an environment, with real processes and directories, with and without control
groups."""

# ruff: noqa: ASYNC240 - one small file at a time, and nothing else runs meanwhile

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.runtime.confinement import Abilities
from gateway.runtime.environment_limits import EnvironmentLimits
from gateway.runtime.processes import MARKER
from gateway.runtime.watch import Watch
from tests.runtime.launching import abilities, is_any_there, need_memory_group, until

pytestmark = pytest.mark.slow

MEGABYTE = 1024 * 1024
NAME = "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef"
HELD_MB = 48
HOLD = f"""
import signal
held = bytearray({HELD_MB} * 1024 * 1024)
held[::1024] = b"x" * len(held[::1024])
print('ready', flush=True)
signal.pause()
"""


def some_limits(
    found: Abilities | None = None, *, memory_mb: int = 128, tmp_mb: int = 1, marker: str = NAME
) -> EnvironmentLimits:
    return EnvironmentLimits(
        found or Abilities(),
        Watch(),
        marker=marker,
        memory_bytes=memory_mb * MEGABYTE,
        tmp_bytes=tmp_mb * MEGABYTE,
        processes=64,
    )


@contextmanager
def process(code: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Python code that says when it is ready."""
    command = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        try:
            yield child
        finally:
            child.kill()


async def test_directory_for_temporary_files_lives_as_long_as_the_limits() -> None:
    limits = some_limits()
    limits.make()
    Path(limits.tmp, "file").write_text("x")

    assert Path(limits.tmp).stat().st_mode & 0o777 == 0o700
    await limits.close()

    assert not is_any_there([limits.tmp])


async def test_what_was_not_made_need_not_be_removed() -> None:
    limits = some_limits()

    await limits.close()

    assert (limits.tmp, limits.directories) == ("", ())


async def test_room_has_its_own_directory_for_temporary_files() -> None:
    limits = some_limits(Abilities(can_unshare=True))
    limits.make()

    assert limits.tmp == ""
    await limits.close()


async def test_control_groups_are_made_and_removed() -> None:
    need_memory_group()
    limits = some_limits(abilities())
    limits.make()
    made = limits.directories

    assert len(made) == len(abilities().hierarchies)
    assert all(Path(path).is_dir() for path in made)
    await limits.close()

    assert not is_any_there(made)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_process_over_its_memory_is_killed_where_no_group_limits_it() -> None:
    with process(HOLD) as child:
        limits = some_limits(memory_mb=HELD_MB // 2)
        limits.make()
        limits.watch(child.pid, child.kill)

        await until(lambda: child.poll() is not None)

        assert child.returncode == -signal.SIGKILL
        assert HELD_MB <= limits.peak_mb(0.0) <= HELD_MB + 16
        await limits.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_process_within_its_limits_is_looked_at_and_left_alone() -> None:
    with process(HOLD) as child:
        limits = some_limits(memory_mb=2 * HELD_MB)
        limits.make()
        limits.watch(child.pid, child.kill)

        await until(lambda: limits.peak_mb(0.0) >= HELD_MB)

        assert child.poll() is None
        await limits.close()


async def test_tmp_over_its_size_ends_the_process_and_is_emptied() -> None:
    limits = some_limits(tmp_mb=1, memory_mb=4096)  # this process is large
    limits.make()
    kills: list[None] = []
    limits.watch(os.getpid(), lambda: kills.append(None))
    file = Path(limits.tmp, "file")

    file.write_bytes(bytes(2 * MEGABYTE))
    await until(lambda: bool(kills))
    await limits.emptied()

    assert kills == [None]  # once; a second start watches again
    assert list(Path(limits.tmp).iterdir()) == []
    await limits.close()


async def test_tmp_within_its_size_is_kept_by_a_reset() -> None:
    limits = some_limits()
    limits.make()
    Path(limits.tmp, "file").write_text("x")

    await limits.emptied()

    assert Path(limits.tmp, "file").read_text() == "x"
    await limits.close()


async def test_at_rest_it_does_not_look() -> None:
    limits = some_limits(tmp_mb=0)
    limits.make()
    Path(limits.tmp, "file").write_bytes(bytes(MEGABYTE))
    kills: list[None] = []
    limits.watch(os.getpid(), lambda: kills.append(None))
    limits.rest()

    over = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.25, over.set_result, None)
    await over

    assert kills == []
    await limits.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_what_a_process_left_behind_is_killed_and_others_are_not() -> None:
    waiting = "import signal; print('ready', flush=True); signal.pause()"
    marker = f"{NAME}{os.getpid()}"
    with (
        process(waiting, **{MARKER: marker}) as left,
        process(waiting, **{MARKER: f"{marker}x"}) as other,
    ):
        limits = some_limits(marker=marker)
        limits.make()
        emptied = asyncio.ensure_future(limits.emptied())  # noqa: TID251 - polled meanwhile

        await until(lambda: left.poll() is not None)
        await emptied

        assert other.poll() is None
        await limits.close()


async def test_most_memory_used_comes_from_the_control_group() -> None:
    need_memory_group()
    limits = some_limits(abilities())
    limits.make()
    enter = "".join(
        f"open({str(Path(path, 'cgroup.procs'))!r}, 'w').write('0')\n"
        for path in limits.directories
    )
    with process(enter + HOLD) as child:
        peak = limits.peak_mb(1.0)
        child.kill()
        child.wait()

    assert peak >= HELD_MB
    assert limits.peak_mb(1.05) == peak  # a reading is good for 100 ms
    await limits.close()

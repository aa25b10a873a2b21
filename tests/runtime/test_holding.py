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
from gateway.runtime.holding import Holding
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


def a_holding(
    found: Abilities | None = None, *, memory_mb: int = 128, tmp_mb: int = 1, marker: str = NAME
) -> Holding:
    return Holding(
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


async def test_directory_for_temporary_files_lives_as_long_as_the_holding() -> None:
    holding = a_holding()
    holding.make()
    Path(holding.tmp, "file").write_text("x")

    assert Path(holding.tmp).stat().st_mode & 0o777 == 0o700
    await holding.close()

    assert not is_any_there([holding.tmp])


async def test_what_was_not_made_need_not_be_removed() -> None:
    holding = a_holding()

    await holding.close()

    assert (holding.tmp, holding.directories) == ("", ())


async def test_room_has_its_own_directory_for_temporary_files() -> None:
    holding = a_holding(Abilities(can_unshare=True))
    holding.make()

    assert holding.tmp == ""
    await holding.close()


async def test_control_groups_are_made_and_removed() -> None:
    need_memory_group()
    holding = a_holding(abilities())
    holding.make()
    made = holding.directories

    assert len(made) == len(abilities().hierarchies)
    assert all(Path(path).is_dir() for path in made)
    await holding.close()

    assert not is_any_there(made)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_process_over_its_memory_is_killed_where_no_group_limits_it() -> None:
    with process(HOLD) as child:
        holding = a_holding(memory_mb=HELD_MB // 2)
        holding.make()
        holding.watch(child.pid, child.kill)

        await until(lambda: child.poll() is not None)

        assert child.returncode == -signal.SIGKILL
        assert HELD_MB <= holding.peak_mb(0.0) <= HELD_MB + 16
        await holding.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_process_within_its_limits_is_looked_at_and_left_alone() -> None:
    with process(HOLD) as child:
        holding = a_holding(memory_mb=2 * HELD_MB)
        holding.make()
        holding.watch(child.pid, child.kill)

        await until(lambda: holding.peak_mb(0.0) >= HELD_MB)

        assert child.poll() is None
        await holding.close()


async def test_tmp_over_its_size_ends_the_process_and_is_emptied() -> None:
    holding = a_holding(tmp_mb=1, memory_mb=4096)  # this process is large
    holding.make()
    kills: list[None] = []
    holding.watch(os.getpid(), lambda: kills.append(None))
    file = Path(holding.tmp, "file")

    file.write_bytes(bytes(2 * MEGABYTE))
    await until(lambda: bool(kills))
    await holding.emptied()

    assert kills == [None]  # once; a second start watches again
    assert list(Path(holding.tmp).iterdir()) == []
    await holding.close()


async def test_tmp_within_its_size_is_kept_by_a_reset() -> None:
    holding = a_holding()
    holding.make()
    Path(holding.tmp, "file").write_text("x")

    await holding.emptied()

    assert Path(holding.tmp, "file").read_text() == "x"
    await holding.close()


async def test_at_rest_it_does_not_look() -> None:
    holding = a_holding(tmp_mb=0)
    holding.make()
    Path(holding.tmp, "file").write_bytes(bytes(MEGABYTE))
    kills: list[None] = []
    holding.watch(os.getpid(), lambda: kills.append(None))
    holding.rest()

    over = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.25, over.set_result, None)
    await over

    assert kills == []
    await holding.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_what_a_process_left_behind_is_killed_and_others_are_not() -> None:
    waiting = "import signal; print('ready', flush=True); signal.pause()"
    marker = f"{NAME}{os.getpid()}"
    with (
        process(waiting, **{MARKER: marker}) as left,
        process(waiting, **{MARKER: f"{marker}x"}) as other,
    ):
        holding = a_holding(marker=marker)
        holding.make()
        emptied = asyncio.ensure_future(holding.emptied())  # noqa: TID251 - polled meanwhile

        await until(lambda: left.poll() is not None)
        await emptied

        assert other.poll() is None
        await holding.close()


async def test_most_memory_used_comes_from_the_control_group() -> None:
    need_memory_group()
    holding = a_holding(abilities())
    holding.make()
    enter = "".join(
        f"open({str(Path(path, 'cgroup.procs'))!r}, 'w').write('0')\n"
        for path in holding.directories
    )
    with process(enter + HOLD) as child:
        peak = holding.peak_mb(1.0)
        child.kill()
        child.wait()

    assert peak >= HELD_MB
    assert holding.peak_mb(1.05) == peak  # a reading is good for 100 ms
    await holding.close()

"""Control groups: made, entered, limited, killed and removed, with real processes."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.runtime import control_groups
from gateway.runtime.control_groups import ControlGroups, Hierarchy, group_members, kill_groups
from gateway.runtime.launch import LaunchFailed
from tests.runtime.launching import (
    a_hierarchy,
    abilities,
    is_any_there,
    launched,
    need_memory_group,
    python_plan,
    room_plan,
    run,
    until,
)

pytestmark = pytest.mark.slow

MEGABYTE = 1024 * 1024

HOLD = """
import signal
held = bytearray({bytes})
print('ready', flush=True)
signal.pause()
"""


def limited(memory_bytes: int = 64 * MEGABYTE, processes: int = 100) -> ControlGroups:
    return ControlGroups(abilities().hierarchies, memory_bytes=memory_bytes, processes=processes)


async def test_groups_are_made_entered_and_removed() -> None:
    need_memory_group()
    code = "print(open('/proc/self/cgroup').read())"
    async with limited() as groups:
        plan = replace(python_plan(code), cgroups=groups.directories)
        assert is_any_there(groups.directories)
        _, text = await run(plan)

        for directory in groups.directories:
            assert Path(directory).name in text
    assert not is_any_there(groups.directories)


async def test_leaving_kills_what_is_in_the_groups() -> None:
    need_memory_group()
    async with limited() as groups:
        plan = replace(python_plan(HOLD.format(bytes=1)), cgroups=groups.directories)
        async with launched(plan) as it:
            await until(lambda: "ready" in it.text())
            await groups.__aexit__(None, None, None)

            assert await it.process.exited == -9
            assert not is_any_there(groups.directories)


HIDE = """
import os, signal, sys
for group in sys.argv[1:]:
    for _ in range(3):
        os.makedirs(f"{group}/beside")
        group += "/inner"
        os.mkdir(group)
    open(f"{group}/cgroup.procs", "w").write("0")
    if not os.fork():
        open(f"{group}/../cgroup.procs", "w").write("0")
        print("ready", flush=True)
        signal.pause()
print("ready", flush=True)
signal.pause()
"""


async def test_groups_made_in_the_groups_hide_nothing_and_go_with_them() -> None:
    need_memory_group()
    async with limited() as groups:
        plan = python_plan(HIDE)
        plan = replace(plan, command=(*plan.command, *groups.directories))
        async with launched(replace(plan, cgroups=groups.directories)) as it:
            count = 1 + len(groups.directories)
            await until(lambda: it.text().count("ready") == count)

            assert len(group_members(groups.directories)) == count
            await groups.__aexit__(None, None, None)
            assert await it.process.exited == -9
    assert not is_any_there(groups.directories)


async def test_process_over_the_limit_is_killed() -> None:
    need_memory_group()
    async with limited() as groups:
        plan = replace(python_plan(HOLD.format(bytes=200 * MEGABYTE)), cgroups=groups.directories)
        status, text = await run(plan)

        assert (status, text) == (-9, "")
        assert groups.peak_memory_bytes() >= 60 * MEGABYTE


async def test_memory_within_the_limit_is_measured_and_left_alone() -> None:
    need_memory_group()
    async with limited() as groups:
        plan = replace(python_plan(HOLD.format(bytes=30 * MEGABYTE)), cgroups=groups.directories)
        async with launched(plan) as it:
            await until(lambda: "ready" in it.text())

            assert 30 * MEGABYTE <= groups.used_memory_bytes() <= groups.peak_memory_bytes()
            assert groups.peak_memory_bytes() <= 64 * MEGABYTE


FILL = """
import errno, signal
try:
    with open('/tmp/full', 'wb', buffering=0) as file:
        while True:
            file.write(bytes(65536))
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
signal.pause()
"""


async def test_full_tmp_does_not_count_as_memory(tmp_path: Path) -> None:
    need_memory_group()
    size = 80 * MEGABYTE
    groups = ControlGroups(
        abilities().hierarchies, memory_bytes=40 * MEGABYTE, processes=10, tmp_bytes=size
    )
    async with groups:
        plan = room_plan(FILL, tmp_path, tmp_bytes=size)
        async with launched(replace(plan, cgroups=groups.directories)) as it:
            await until(lambda: "ENOSPC" in it.text() or it.process.exited.done())

            assert it.text() == "ENOSPC\n"
            assert 1 * MEGABYTE < groups.used_memory_bytes() < 20 * MEGABYTE


async def test_full_tmp_kills_where_it_is_not_allowed_for(tmp_path: Path) -> None:
    need_memory_group()
    async with limited(memory_bytes=40 * MEGABYTE) as groups:
        plan = room_plan(FILL, tmp_path, tmp_bytes=80 * MEGABYTE)

        assert await run(replace(plan, cgroups=groups.directories)) == (-9, "")


async def test_processes_end_at_their_limit() -> None:
    if not any("pids" in found.controllers for found in abilities().hierarchies):
        pytest.skip("no control group that limits processes can be made here")
    code = "import os, errno\ntry:\n    for _ in range(20):\n        os.fork() or os._exit(0)\n"
    code += "except OSError as error:\n    print(errno.errorcode[error.errno])"
    async with limited(processes=5) as groups:
        plan = replace(python_plan(code), cgroups=groups.directories)

        assert await run(plan) == (0, "EAGAIN")


async def test_without_hierarchies_there_is_nothing_to_make() -> None:
    async with ControlGroups((), memory_bytes=1, processes=1) as groups:
        assert groups.directories == ()
        assert groups.peak_memory_bytes() == groups.used_memory_bytes() == 0


def test_groups_that_cannot_be_made_leave_none(tmp_path: Path) -> None:
    found = (a_hierarchy(tmp_path), a_hierarchy(tmp_path / "missing"))
    groups = ControlGroups(found, memory_bytes=1, processes=1)

    with pytest.raises(LaunchFailed, match="no control group"):
        groups.make()
    assert list(tmp_path.iterdir()) == []


def test_groups_removed_twice_are_removed(tmp_path: Path) -> None:
    groups = ControlGroups((a_hierarchy(tmp_path),), memory_bytes=1, processes=1)
    groups.make()
    busy = Path(groups.directories[0], "inner", "busy")
    busy.parent.mkdir()
    busy.touch()

    assert groups.remove() is False
    busy.unlink()
    assert groups.remove() is True
    assert groups.remove() is True


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (1, {"memory.limit_in_bytes": "7", "memory.memsw.limit_in_bytes": "7", "pids.max": "3"}),
        (2, {"memory.max": "7", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "3"}),
    ],
)
def test_limits_are_written_in_the_words_of_each_version(
    tmp_path: Path, version: int, files: dict[str, str]
) -> None:
    for name in files:
        (tmp_path / name).touch()
    found = a_hierarchy(tmp_path.parent, "memory", "pids", version=version)
    control_groups._set_limits(found, tmp_path, {"memory": 7, "pids": 3})

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("version", "peak"), [(1, "memory.max_usage_in_bytes"), (2, "memory.peak")]
)
def test_peak_is_read_in_the_words_of_each_version(tmp_path: Path, version: int, peak: str) -> None:
    found = a_hierarchy(tmp_path, "memory", version=version)
    groups = ControlGroups((found,), memory_bytes=1, processes=1)
    group = Path(groups.directories[0])
    group.mkdir()

    assert groups.peak_memory_bytes() == 0
    (group / peak).write_text("12345\n")
    assert groups.peak_memory_bytes() == 12345


def test_a_killed_group_cannot_fork_until_it_is_allowed_to(tmp_path: Path) -> None:
    there = Hierarchy(str(tmp_path), 1, frozenset({"pids"}))
    groups = ControlGroups((there,), memory_bytes=1, processes=7)
    groups.make()
    limit = Path(groups.directories[0], "pids.max")

    kill_groups(groups.directories)
    assert limit.read_text() == "0"

    groups.allow_forks()
    assert limit.read_text() == "7"

"""Control groups and looks at memory, with real processes; what a machine can do, also from the
tables of other machines."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.runtime import confinement
from gateway.runtime.call_filter import program
from gateway.runtime.confinement import (
    Abilities,
    ControlGroups,
    Hierarchy,
    find_abilities,
    group_members,
    kill_groups,
    sufficient,
)
from gateway.runtime.launch import LaunchFailed
from gateway.runtime.peers import Sight, find_sight
from tests.runtime.launching import (
    abilities,
    is_any_there,
    keep,
    launched,
    need_memory_group,
    need_room,
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

MEMORY = frozenset({"memory"})


def a_hierarchy(directory: Path, *controllers: str, version: int = 2) -> Hierarchy:
    return Hierarchy(str(directory), version, frozenset(controllers))


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            Abilities(True, (Hierarchy("/x", 2, MEMORY),), Sight.PROCESS, "06"),
            "isolation: own /var/task, /opt, /tmp, /run and /dev; system calls filtered; "
            "memory limited by control group",
        ),
        (
            Abilities(True, (Hierarchy("/x", 1, frozenset({"pids"})),), Sight.USER),
            "isolation: own /var/task, /opt, /tmp, /run and /dev; system calls not filtered; "
            "memory looked at every 100 ms; "
            "Runtime APIs open to all processes of this user",
        ),
        (
            Abilities(),
            "isolation: /var/task, /opt and /tmp only in the variables; "
            "system calls not filtered; memory looked at every 100 ms; "
            "Runtime APIs open to all processes of this machine",
        ),
    ],
)
def test_operator_is_told_what_is_in_force(found: Abilities, line: str) -> None:
    assert str(found) == line


def test_trial_leaves_no_groups_and_is_repeatable() -> None:
    first = abilities()
    before = own_groups(first)

    assert find_abilities(()) is not None
    assert own_groups(first) == before


def own_groups(found: Abilities) -> list[Path]:
    """Return the control groups of this process: other gateways may run beside it."""
    places = [Path(hierarchy.directory) for hierarchy in found.hierarchies]
    return [path for place in places for path in sorted(place.glob(f"gateway-{os.getpid()}-*"))]


def test_room_can_be_made_wherever_mounts_can() -> None:
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "mount",
        "-t",
        "tmpfs",
        "x",
        "/tmp",
    ]
    if shutil.which("unshare") is None or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("nothing can be mounted in a user namespace here")

    assert abilities().can_unshare


def test_each_ability_is_tried_by_itself_when_not_all_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    works, fails = a_hierarchy(tmp_path / "works"), a_hierarchy(tmp_path / "fails")
    tried: list[Abilities] = []

    def try_out(found: Abilities, _keep: tuple[str, ...]) -> bool:
        tried.append(found)
        return found == Abilities(hierarchies=(works,))

    monkeypatch.setattr(confinement, "control_groups", lambda: iter((works, fails)))
    monkeypatch.setattr(confinement, "_works", try_out)

    found = find_abilities()

    assert found == Abilities(can_unshare=False, hierarchies=(works,), sight=find_sight())
    assert tried[0] == Abilities(
        can_unshare=True, hierarchies=(works, fails), call_filter=program().hex()
    )


def test_calls_are_filtered_where_no_room_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "control_groups", lambda: iter(()))
    monkeypatch.setattr(confinement, "_works", lambda found, _keep: not found.can_unshare)

    assert find_abilities() == Abilities(sight=find_sight(), call_filter=program().hex())


def test_room_that_cannot_be_made_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    need_room()
    monkeypatch.setattr(confinement, "BOOT", "raise SystemExit(1)")

    assert confinement._works(Abilities(True), keep()) is False


def test_group_that_cannot_be_made_is_not_offered(tmp_path: Path) -> None:
    nowhere = a_hierarchy(tmp_path / "missing", "memory")

    assert confinement._works(Abilities(hierarchies=(nowhere,)), ()) is False


def test_other_systems_can_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert find_abilities() == Abilities()


MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_mounted_hierarchies_of_use_are_found() -> None:
    found = [(version, mount) for version, _, mount in confinement._mounts(MOUNTS)]

    assert found == [
        (1, ("/docker/abc", "/sys/fs/cgroup/memory")),
        (1, ("/", "/sys/fs/cgroup/pids")),
        (2, ("/", "/sys/fs/cgroup/unified")),
    ]


@pytest.mark.parametrize(
    ("version", "controllers", "path"),
    [
        (1, frozenset({"rw", "memory"}), "/docker/abc/x"),
        (1, frozenset({"pids"}), "/p:q"),
        (2, frozenset(), "/user.slice/a.scope"),
        (1, frozenset({"cpu"}), "/"),
    ],
)
def test_own_group_is_found(version: int, controllers: frozenset[str], path: str) -> None:
    text = "8:pids:/p:q\n4:memory:/docker/abc/x\n1:cpu:/c\n0::/user.slice/a.scope\n"

    assert confinement._own_group(text, version, controllers) == path


def test_group_is_looked_for_below_what_a_container_mounts(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()

    assert confinement._inside(("/docker/abc", str(tmp_path)), "/docker/abc/x") == tmp_path / "x"
    assert confinement._inside(("/", str(tmp_path)), "/not/mounted") == tmp_path


@pytest.mark.parametrize(
    ("own", "parent", "expected"),
    [
        ("cpu memory pids", "", ("outer/inner", {"memory", "pids"})),
        ("", "memory pids", ("outer", {"memory", "pids"})),
        ("", "cpu pids", ("outer/inner", set())),
    ],
)
def test_groups_of_version_2_are_made_where_memory_is_limited(
    tmp_path: Path, own: str, parent: str, expected: tuple[str, set[str]]
) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "cgroup.subtree_control").write_text(parent)
    (inner / "cgroup.subtree_control").write_text(own)
    if "memory" not in own:
        # The kernel refuses what this would enable, as there are processes in the group.
        (inner / "cgroup.subtree_control").unlink()
        (inner / "cgroup.subtree_control").mkdir()

    where, controllers = expected
    assert confinement._version_2(inner) == a_hierarchy(tmp_path / where, *controllers)


def limited(memory_bytes: int = 64 * MEGABYTE, processes: int = 100) -> ControlGroups:
    return ControlGroups(abilities(), memory_bytes=memory_bytes, processes=processes)


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
    groups = ControlGroups(abilities(), memory_bytes=40 * MEGABYTE, processes=10, tmp_bytes=size)
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
    async with ControlGroups(Abilities(), memory_bytes=1, processes=1) as groups:
        assert groups.directories == ()
        assert groups.peak_memory_bytes() == groups.used_memory_bytes() == 0


def test_groups_that_cannot_be_made_leave_none(tmp_path: Path) -> None:
    found = Abilities(False, (a_hierarchy(tmp_path), a_hierarchy(tmp_path / "missing")))
    groups = ControlGroups(found, memory_bytes=1, processes=1)

    with pytest.raises(LaunchFailed, match="no control group"):
        groups.make()
    assert list(tmp_path.iterdir()) == []


def test_groups_removed_twice_are_removed(tmp_path: Path) -> None:
    groups = ControlGroups(Abilities(False, (a_hierarchy(tmp_path),)), memory_bytes=1, processes=1)
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
    confinement._set_limits(found, tmp_path, {"memory": 7, "pids": 3})

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    ("version", "peak"), [(1, "memory.max_usage_in_bytes"), (2, "memory.peak")]
)
def test_peak_is_read_in_the_words_of_each_version(tmp_path: Path, version: int, peak: str) -> None:
    found = a_hierarchy(tmp_path, "memory", version=version)
    groups = ControlGroups(Abilities(False, (found,)), memory_bytes=1, processes=1)
    group = Path(groups.directories[0])
    group.mkdir()

    assert groups.peak_memory_bytes() == 0
    (group / peak).write_text("12345\n")
    assert groups.peak_memory_bytes() == 12345


V1_MEMORY = Hierarchy("/memory", 1, frozenset({"memory"}))
V1_PIDS = Hierarchy("/pids", 1, frozenset({"pids"}))
V2_NOTHING = Hierarchy("/unified", 2, frozenset())
V2_ALL = Hierarchy("/unified", 2, frozenset({"memory", "pids"}))


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ((V1_MEMORY, V1_PIDS, V2_NOTHING), (V1_MEMORY, V1_PIDS)),
        ((V1_MEMORY, V2_NOTHING), (V1_MEMORY, V2_NOTHING)),
        ((V2_NOTHING,), (V2_NOTHING,)),
        ((V2_ALL,), (V2_ALL,)),
        ((), ()),
    ],
)
def test_a_group_that_only_kills_is_left_out_where_all_is_limited(
    there: tuple[Hierarchy, ...], taken: tuple[Hierarchy, ...]
) -> None:
    assert sufficient(there) == taken


def test_a_killed_group_cannot_fork_until_it_is_allowed_to(tmp_path: Path) -> None:
    there = Abilities(hierarchies=(Hierarchy(str(tmp_path), 1, frozenset({"pids"})),))
    groups = ControlGroups(there, memory_bytes=1, processes=7)
    groups.make()
    limit = Path(groups.directories[0], "pids.max")

    kill_groups(groups.directories)
    assert limit.read_text() == "0"

    groups.allow_forks()
    assert limit.read_text() == "7"

"""What a machine can do to confine: tried, and read from the tables of other machines."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.runtime import confinement
from gateway.runtime.call_filter import program
from gateway.runtime.confinement import Abilities, find_abilities, find_limits, sufficient, works
from gateway.runtime.control_groups import Hierarchy
from gateway.runtime.peers import Sight, find_sight
from tests.runtime.launching import (
    a_hierarchy,
    abilities,
    keep,
    need_room,
)

pytestmark = pytest.mark.slow

MEMORY = frozenset({"memory"})


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


def test_each_ability_is_tried_by_itself_when_not_all_work(tmp_path: Path) -> None:
    good, bad = a_hierarchy(tmp_path / "good"), a_hierarchy(tmp_path / "bad")
    tried: list[Abilities] = []

    def is_possible(hoped: Abilities) -> bool:
        tried.append(hoped)
        return hoped == Abilities(hierarchies=(good,))

    found = find_limits((good, bad), is_possible)

    assert found == Abilities(can_unshare=False, hierarchies=(good,))
    assert tried[0] == Abilities(
        can_unshare=True, hierarchies=(good, bad), call_filter=program().hex()
    )


def test_calls_are_filtered_where_no_room_can_be_made() -> None:
    found = find_limits((), lambda hoped: not hoped.can_unshare)

    assert found == Abilities(call_filter=program().hex())


def test_what_is_found_is_what_works_together() -> None:
    assert abilities().sight is find_sight()
    assert works(replace(abilities(), sight=Sight.NOTHING), keep())


def test_room_that_cannot_be_made_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    need_room()
    monkeypatch.setattr(confinement, "BOOT", "raise SystemExit(1)")

    assert works(Abilities(True), keep()) is False


def test_group_that_cannot_be_made_is_not_offered(tmp_path: Path) -> None:
    nowhere = a_hierarchy(tmp_path / "missing", "memory")

    assert works(Abilities(hierarchies=(nowhere,)), ()) is False


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

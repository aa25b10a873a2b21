"""Control groups that a user may divide, on directories that stand for a hierarchy; real ones are
in process/test_user.py."""

import os
from pathlib import Path

import pytest

from gateway.runtime.control_groups import Hierarchy
from gateway.runtime.delegation import LEAF, OF, delegate
from gateway.runtime.owner import own_prefix
from tests.runtime.test_owner import prefix_of_the_dead

OTHER_USER = 65534 if os.geteuid() == 0 else os.geteuid()
"""A user that this one may give files to."""


def hierarchy(directory: Path, version: int) -> Hierarchy:
    return Hierarchy(str(directory), version, frozenset({"memory"}))


@pytest.mark.parametrize(("version", "inner"), [(1, ""), (2, LEAF)])
def test_process_enters_a_group_of_its_own(tmp_path: Path, version: int, inner: str) -> None:
    delegate(OTHER_USER, os.getegid(), [hierarchy(tmp_path, version)])

    (base,) = tmp_path.glob(f"{OF}{own_prefix()}*")
    entered = base / inner
    assert (entered / "cgroup.procs").read_text() == "0"
    assert {path.stat().st_uid for path in (base, entered, entered / "cgroup.procs")} == {
        OTHER_USER
    }
    assert (base / "cgroup.subtree_control").exists() == (version == 2)


def test_group_of_a_dead_gateway_is_removed_and_one_with_processes_stays(tmp_path: Path) -> None:
    dead = tmp_path / f"{OF}{prefix_of_the_dead()}gateway"
    (dead / LEAF).mkdir(parents=True)
    alive = tmp_path / f"{OF}{own_prefix()}other"
    alive.mkdir()

    delegate(os.geteuid(), os.getegid(), [hierarchy(tmp_path, 1)])

    assert not dead.exists()
    assert alive.exists()


def test_hierarchy_that_takes_no_group_is_passed_over(tmp_path: Path) -> None:
    delegate(OTHER_USER, os.getegid(), [hierarchy(tmp_path / "nowhere", 1)])

    assert list(tmp_path.iterdir()) == []

"""Control groups that a user may divide, on directories that stand for a hierarchy; real ones are
in process/test_user.py."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.runtime import delegation
from gateway.runtime.confinement import Hierarchy
from gateway.runtime.delegation import LEAF, OF, delegate
from gateway.runtime.owner import own_prefix
from tests.runtime.test_owner import prefix_of_the_dead

Hierarchies = Callable[[int], Path]


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hierarchies:
    """Return a way to have one hierarchy of a version."""

    def make(version: int) -> Path:
        found = Hierarchy(str(tmp_path), version, frozenset({"memory"}))
        monkeypatch.setattr(delegation, "control_groups", lambda: iter([found]))
        return tmp_path

    return make


@pytest.mark.parametrize(("version", "inner"), [(1, ""), (2, LEAF)])
def test_process_enters_a_group_of_its_own(
    hierarchy: Hierarchies, version: int, inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path] = []
    monkeypatch.setattr(os, "chown", lambda path, user, group: given.append(Path(path)))
    top = hierarchy(version)

    delegate(1000, 1000)

    (base,) = top.glob(f"{OF}{own_prefix()}*")
    entered = base / inner
    assert (entered / "cgroup.procs").read_text() == "0"
    assert {base, entered, entered / "cgroup.procs"} <= {*given}
    enabled = base / "cgroup.subtree_control"
    assert enabled.exists() == (version == 2)


def test_group_of_a_dead_gateway_is_removed_and_one_with_processes_stays(
    hierarchy: Hierarchies,
) -> None:
    top = hierarchy(1)
    dead = top / f"{OF}{prefix_of_the_dead()}gateway"
    (dead / LEAF).mkdir(parents=True)
    alive = top / f"{OF}{own_prefix()}other"
    alive.mkdir()

    delegate(os.geteuid(), os.getegid())

    assert not dead.exists()
    assert alive.exists()


def test_hierarchy_that_takes_no_group_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Hierarchy(str(tmp_path / "nowhere"), 1, frozenset({"memory"}))
    monkeypatch.setattr(delegation, "control_groups", lambda: iter([found]))

    delegate(1000, 1000)

    assert list(tmp_path.iterdir()) == []

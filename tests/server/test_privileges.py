"""The user that serves, as options name it; becoming that user is tested with real processes
(process/test_user.py)."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from gateway.core.errors import InvalidSetting
from gateway.server import privileges
from gateway.server.privileges import WARNING, Logs, User, root_warning, user_named

ME = User("me", os.geteuid(), os.getegid(), "/")


UNPRIVILEGED = pwd.getpwuid(65534).pw_name
REFUSED = ["", "65534", "no user", f"{UNPRIVILEGED}:", f"{UNPRIVILEGED}:nosuchgroup", "root"]


@pytest.fixture
def _as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("_as_root")
def test_user_and_group_are_found_by_name() -> None:
    found = pwd.getpwnam(UNPRIVILEGED)
    group = grp.getgrgid(0).gr_name

    assert user_named(UNPRIVILEGED) == User(UNPRIVILEGED, found.pw_uid, found.pw_gid, found.pw_dir)
    assert user_named(f"{UNPRIVILEGED}:{group}").gid == 0


@pytest.mark.usefixtures("_as_root")
@pytest.mark.parametrize("text", REFUSED)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match=f"--user {text}"):
        user_named(text)


def test_only_root_can_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InvalidSetting, match="this process is user 1000"):
        user_named(UNPRIVILEGED)
    assert root_warning() == ""


@pytest.mark.usefixtures("_as_root")
@pytest.mark.parametrize(
    ("uid_map", "said"),
    [
        ("         0          0 4294967295\n", WARNING),
        ("         0     100000      65536\n", ""),
        ("", WARNING),
    ],
)
def test_root_of_a_user_namespace_does_not_count_as_root(
    uid_map: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "uid_map"
    path.write_text(uid_map)
    monkeypatch.setattr(privileges, "UID_MAP", path)

    assert root_warning() == said


def test_missing_logs_are_made(tmp_path: Path) -> None:
    access, functions = tmp_path / "access.log", tmp_path / "deep" / "functions"
    logs = Logs(str(access), str(functions))
    for _ in range(2):
        logs.make_for(ME)
        logs.check("me")

    assert access.stat().st_mode & 0o777 == 0o640
    assert functions.is_dir()


def test_what_cannot_be_made_is_refused_when_it_is_checked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logs = Logs(function_logs=str(tmp_path / "file" / "logs"))
    logs.make_for(ME)

    with pytest.raises(InvalidSetting, match=r"--user me may not write to .*logs"):
        logs.check("me")


@pytest.mark.parametrize("access_log", ["", "-"])
def test_no_file_needs_no_rights(access_log: str) -> None:
    Logs(access_log).make_for(ME)
    Logs(access_log).check("me")

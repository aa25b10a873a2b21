"""The user that serves: root gives up its rights once the socket is open and the keys are read.

What only root can do comes before: ports below 1,024, a certificate's key, control groups, the
files of logs. Then every process is the user's: the parent of workers, the workers, environments.
"""

import grp
import os
import pwd
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import InvalidSetting
from gateway.runtime.confinement import control_groups
from gateway.runtime.delegation import delegate
from gateway.telemetry.output import FILE_MODE

WARNING = "user: root; --user NAME gives up root's rights once the socket is open"

UID_MAP = Path("/proc/self/uid_map")

OF_ROOT = ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
"""Variables that name directories of root's session."""


@dataclass(frozen=True, slots=True)
class User:
    """The user that serves."""

    name: str
    uid: int
    gid: int
    home: str


def user_named(text: str) -> User:
    """Return the user of `NAME` or `NAME:GROUP`; raises InvalidSetting for one that is unknown or
    root, and when this process is not root."""
    name, colon, group = text.partition(":")
    if os.geteuid() != 0:
        raise InvalidSetting(f"--user {text} is for root; this process is user {os.geteuid()}")
    try:
        found = pwd.getpwnam(name)
        gid = grp.getgrnam(group).gr_gid if colon else found.pw_gid
    except KeyError as error:
        raise InvalidSetting(f"--user {text}: {error.args[0]}") from error
    if found.pw_uid == 0:
        raise InvalidSetting(f"--user {text}: that is root; name a user without rights")
    return User(found.pw_name, found.pw_uid, gid, found.pw_dir)


def root_warning() -> str:
    """Return a line for a process that is root of the machine; root of a user namespace is not."""
    if os.geteuid() != 0:
        return ""
    with suppress(OSError, ValueError):
        _, outside, _ = map(int, UID_MAP.read_text("ascii").split()[:3])
        return WARNING if outside == 0 else ""
    return WARNING


@dataclass(frozen=True, slots=True)
class Logs:
    """Where logs go, as options say it; empty for nowhere."""

    access_log: str = ""
    function_logs: str = ""

    def make_for(self, user: User) -> None:
        """Make what is not there yet, for a user; an error comes back when a log is opened."""
        if self.access_log not in {"", "-"}:
            _make_file(Path(self.access_log), user)
        if self.function_logs and not Path(self.function_logs).exists():
            _make_directory(Path(self.function_logs), user)

    def check(self, name: str) -> None:
        """Raise InvalidSetting for what this process may not write to."""
        for path in (self.access_log, self.function_logs):
            if path not in {"", "-"} and not os.access(path, os.W_OK):
                raise InvalidSetting(f"--user {name} may not write to {path}")


def _make_file(path: Path, user: User) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        os.fchown(descriptor, user.uid, user.gid)
        os.close(descriptor)


def _make_directory(path: Path, user: User) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        os.chown(path, user.uid, user.gid)


def give_up_root(user: User, *, socket_files: Sequence[str] = (), logs: Logs) -> None:
    """Become the user, for good; raises InvalidSetting when it may not write to the logs.

    `socket_files` become the user's.
    """
    for socket_file in socket_files:
        os.chown(socket_file, user.uid, user.gid)
    delegate(user.uid, user.gid, control_groups())
    os.initgroups(user.name, user.gid)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    for name in OF_ROOT:
        os.environ.pop(name, None)
    os.environ.update(HOME=user.home, USER=user.name, LOGNAME=user.name)
    logs.check(user.name)

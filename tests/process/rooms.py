"""Functions that attack their room: a gateway whose function runs what a test sends it."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.serving import ROOT, Server, connect

APPS = Path(__file__).parent / "apps"

FORKED: tuple[str, ...] = ()
EXECUTED = ("--env", "PYTHONHASHSEED=random")
"""A variable that acts when a process is executed, so that each one is."""

SELF = "self"
UNPRIVILEGED = pwd.getpwuid(65534).pw_name
"""The user without rights, as the system calls it."""

PROBE = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(act, *arguments):
    try:
        result = act(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done" if result is None else result
"""
"""Before each probe: `call` makes a system call by its number, `attempt` names an error."""


class Attacked(Server):
    """A gateway with one environment, and a way to run code in that."""

    def probe(self, code: str) -> str:
        """Run code in the environment; return what it prints."""
        status, body = self.post(PROBE + code)
        assert status == 200, self.output.text()
        return body.strip()

    def reset(self) -> None:
        """Have the environment's process end, so that another one comes into its room."""
        assert self.post("die")[0] == 502

    def post(self, body: str) -> tuple[int, str]:
        """Return status and body of a request."""
        with closing(connect(self)) as connection:
            connection.request("POST", "/", body.encode(), {"Content-Type": "text/plain"})
            response = connection.getresponse()
            return response.status, response.read().decode()


@contextmanager
def attacked(
    user: str, *options: str, code: Path = APPS, handler: str = "prober.handler", **env: str
) -> Iterator[Attacked]:
    """Serve the prober as that user; skips where that is not possible."""
    python, variables, become = _as_user(user)
    arguments = ("serve", handler, "--code", str(code), "--port", "0", "--timeout", "30")
    command = [python, "-m", "gateway", *arguments, "--concurrency", "1", *options]
    with Attacked(command, env={**variables, **env}, before_exec=become, cwd=Path("/")) as server:
        server.wait_until_listening()
        yield server
        if server.is_running:
            assert server.stop() == 0


def _as_user(user: str) -> tuple[str, dict[str, str], object]:
    if user == SELF:
        return sys.executable, {}, None
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    place = sysconfig.get_path("purelib")
    return (
        unprivileged_python(),
        {"PYTHONPATH": f"{ROOT}:{place}", "HOME": "/"},
        become_unprivileged,
    )


def become_unprivileged() -> None:
    found = pwd.getpwnam(UNPRIVILEGED)
    os.setgroups([])
    os.setgid(found.pw_gid)
    os.setuid(found.pw_uid)


@cache
def unprivileged_python() -> str:
    """Return an interpreter like this one that UNPRIVILEGED may execute."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = sysconfig.get_path("purelib")
    for python in (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin")):
        command = [python or "", "-c", "import gateway.cli"]
        env = {"PYTHONPATH": f"{ROOT}:{place}"}
        try:
            subprocess.run(command, preexec_fn=become_unprivileged, env=env, cwd="/", check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return command[0]
    pytest.skip(f"the user {UNPRIVILEGED} may execute no {name} here")

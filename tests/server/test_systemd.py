"""What a service manager is told, and what it hands over."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.core.errors import InvalidSetting
from gateway.server.systemd import Notifier, handed_over, notifier

PATIENCE_SECONDS = 10.0

ACTIVATED = """
import os, socket, sys
from gateway.core.errors import InvalidSetting
from gateway.server.systemd import handed_over

if sys.argv[1] == "tcp":
    given = socket.create_server(("127.0.0.1", 0)).detach()
elif sys.argv[1] == "datagram":
    given = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()
elif sys.argv[1] == "connected":
    given = socket.socketpair()[0].detach()
else:
    given = os.open("/dev/null", os.O_RDONLY)
if given != 3:
    os.dup2(given, 3)
variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[2], "LISTEN_FDNAMES": "a:b"}
try:
    found = handed_over(variables)
except InvalidSetting as error:
    sys.exit(str(error))
print(found and [found.fileno(), found.getblocking(), os.get_inheritable(3), variables])
"""


class Manager:
    """The other side of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.bind(address.replace("@", "\0"))

    def message(self) -> list[str]:
        return self.socket.recv(4096).decode().split("\n")


@contextmanager
def manager(kind: str) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/notify"
        found = Manager(path if kind == "path" else f"@gateway-test{path}")
        with found.socket:
            yield found


def told(address: str, environ: dict[str, str] | None = None) -> Notifier:
    variables = {"NOTIFY_SOCKET": address, **(environ or {})}
    return notifier(variables, lambda: 12.5)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_states_are_told(kind: str) -> None:
    with manager(kind) as listening:
        notify = told(listening.address)
        notify.ready("listening\non x")
        notify.reloading()
        notify.stopping()

        assert listening.message() == ["READY=1", "STATUS=listening on x"]
        assert listening.message() == [
            "RELOADING=1",
            "MONOTONIC_USEC=12500000",
            "STATUS=reloading",
        ]
        assert listening.message() == ["STOPPING=1", "STATUS=letting requests finish"]


def test_variables_are_taken_away() -> None:
    variables = {
        "NOTIFY_SOCKET": "@x",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "a",
        "HOME": "/",
    }

    notifier(variables, lambda: 0.0)
    handed_over(variables)

    assert variables == {"HOME": "/"}


def test_without_a_manager_nothing_happens() -> None:
    notify = notifier({}, lambda: 0.0)

    notify.ready("x")
    notify.reloading()
    notify.stopping()
    assert handed_over({}) is None


def test_manager_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    notify = told(str(tmp_path / "none"))

    notify.ready("x")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("pid", [{}, {"WATCHDOG_PID": str(os.getpid())}])
async def test_watchdog_is_told_at_half_its_time(pid: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    with manager("path") as listening:
        began = loop.time()
        told(listening.address, {"WATCHDOG_USEC": "100000", **pid}).watch(loop)
        for _ in range(3):
            assert await asyncio.to_thread(listening.message) == ["WATCHDOG=1"]
        seconds = loop.time() - began

    assert 0.09 < seconds < PATIENCE_SECONDS


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}]
)
async def test_watchdog_of_another_process_is_not_told(environ: dict[str, str]) -> None:
    with manager("path") as listening:
        notify = told(listening.address, environ)
        notify.watch(asyncio.get_running_loop())
        notify.stopping()

        assert listening.message()[0] == "STOPPING=1"


@pytest.mark.parametrize(
    "environ",
    [
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid())},
    ],
)
def test_sockets_of_others_are_not_taken(environ: dict[str, str]) -> None:
    assert handed_over(environ) is None


def test_several_sockets_are_refused() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:https"}

    with pytest.raises(InvalidSetting) as caught:
        handed_over(environ)

    assert str(caught.value) == (
        "the service manager has handed over 2 sockets (http:https); "
        "one is served, so keep one ListenStream= in the socket unit"
    )


def activated(kind: str, count: str = "1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ACTIVATED, kind, count]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_socket_that_is_handed_over_is_taken() -> None:
    done = activated("tcp")

    assert done.stdout == "[3, False, False, {}]\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("file", "descriptor 3 of the service manager is not a socket: Socket operation on non"),
        ("datagram", "is not a listening stream socket; the socket unit needs ListenStream= and"),
        ("connected", "is not a listening stream socket; the socket unit needs ListenStream= and"),
    ],
)
def test_what_is_not_a_listening_socket_is_refused(kind: str, line: str) -> None:
    done = activated(kind)

    assert done.returncode == 1
    assert line in done.stderr

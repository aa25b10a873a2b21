"""`gateway health` finds its gateway whatever that was started with."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.serving import APPS, Process, Server, gateway_command
from tests.soaking import in_soak

pytestmark = pytest.mark.slow

ACTIVATE = """
import os, socket, sys
given = socket.create_server(("127.0.0.1", 0))
os.dup2(given.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

Health = Callable[..., tuple[int, list[str], list[str]]]
LISTENING = r"listening on (?P<url>\S+)"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


@pytest.fixture
def health(variables: dict[str, str]) -> Health:
    def ask(*options: str) -> tuple[int, list[str], list[str]]:
        with Process(gateway_command("health", *options), env=variables) as process:
            status = process.wait()
            return status, process.output.wait_for_end(), process.errors.wait_for_end()

    return ask


def started(variables: dict[str, str], *options: str, before: tuple[str, ...] = ()) -> Server:
    serve = gateway_command("serve", "echo.handler", "--code", str(APPS), "--in-process", *options)
    return Server([*before, *serve[bool(before) :], "--quiet"], env=variables)


@pytest.mark.parametrize(
    "options",
    [
        ("--port", "0"),
        ("--port", "0", "--https"),
        ("--port", "0", "--host", "::1"),
        ("--port", "0", "--workers", "2"),
        *in_soak(("--port", "0", "--server", "uvicorn"), ("--port", "0", "--host", "0.0.0.0")),
    ],
    ids=" ".join,
)
def test_gateway_is_found_whatever_its_options_are(
    variables: dict[str, str], health: Health, options: tuple[str, ...]
) -> None:
    with started(variables, *options) as server:
        server.wait_until_listening(LISTENING)
        found = health()
        assert server.stop() == 0

    assert found == (0, [f"{server.url} accepts connections"], [])


def test_gateway_on_a_unix_socket_is_found(
    variables: dict[str, str], health: Health, tmp_path: Path
) -> None:
    path = os.path.relpath(tmp_path / "s", Path.cwd())
    with started(variables, "--uds", path) as server:
        server.wait_until_listening(LISTENING)
        found, named = health(), health("--uds", path)
        assert server.stop() == 0
        gone = health("--uds", path)

    assert (found[0], named[0], gone[0]) == (0, 0, 1)
    assert named[1] == [f"unix:{path} accepts connections"]


def test_gateway_on_a_socket_that_was_handed_over_is_found(
    variables: dict[str, str], health: Health
) -> None:
    with started(variables, before=(sys.executable, "-c", ACTIVATE)) as server:
        server.wait_until_listening(LISTENING)
        found = health()
        assert server.stop() == 0

    assert found == (0, [f"{server.url} accepts connections"], [])


def test_all_gateways_must_accept_and_a_killed_one_does_not_count(
    variables: dict[str, str], health: Health
) -> None:
    with (
        started(variables, "--port", "0") as one,
        started(variables, "--port", "0") as two,
        started(variables, "--port", "0") as killed,
    ):
        for server in (one, two, killed):
            server.wait_until_listening(LISTENING)
        killed.signal(signal.SIGKILL)
        killed.wait()
        both = health()
        named = health("--port", str(killed.port))
        for server in (one, two):
            assert server.stop() == 0

    assert both[0] == 0
    assert sorted(both[1]) == sorted(f"{server.url} accepts connections" for server in (one, two))
    assert (named[0], named[1]) == (1, [])


def test_gateway_that_has_stopped_leaves_no_file(variables: dict[str, str]) -> None:
    with started(variables, "--port", "0") as server:
        server.wait_until_listening(LISTENING)
        during = len(list(Path(variables["XDG_RUNTIME_DIR"]).rglob("*.listener")))
        assert server.stop() == 0

    assert during == 1
    assert list(Path(variables["XDG_RUNTIME_DIR"]).rglob("*.listener")) == []

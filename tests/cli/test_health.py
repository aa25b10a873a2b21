"""`gateway health`: a connect, and what it tells."""

import os
import socket
import sys
from pathlib import Path

import pytest

from gateway.server import presence
from tests.cli.commands import run


@pytest.fixture(autouse=True)
def no_gateways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_listener_that_accepts_is_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        result = run("health", "--port", str(port))

        listening.accept()[0].close()  # it connected and sent nothing
    assert (result.exit_code, result.output) == (0, f"127.0.0.1:{port} accepts connections\n")


def test_unused_port_is_status_1() -> None:
    with socket.socket() as bound:  # holds the port and does not listen
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        result = run("health", "--port", str(port))

    assert result.exit_code == 1
    assert result.output == (
        f"gateway: 127.0.0.1:{port} does not accept connections: Connection refused\n"
    )


@pytest.mark.parametrize("host", ["..", "x" * 300])
def test_malformed_host_is_status_1(host: str) -> None:
    result = run("health", "--host", host)

    assert result.exit_code == 1
    assert result.output.startswith(f"gateway: {host}:8080 does not accept connections: ")


def test_without_options_the_gateways_of_this_user_are_tried(no_gateways: Path) -> None:
    place = presence.directory(os.environ)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        alive, dead = (
            presence.reachable(one, url) for one, url in ((listening, "a"), (bound, "b"))
        )
        with presence.announced(alive, place):
            one = run("health")
            with presence.announced(dead, place):
                both = run("health")

    assert place.is_relative_to(no_gateways)
    assert (one.exit_code, one.output) == (0, "a accepts connections\n")
    assert both.exit_code == 1
    assert both.output == (
        "a accepts connections\ngateway: b does not accept connections: Connection refused\n"
    )


def test_options_win_over_what_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        other = presence.Presence("b", socket.AF_INET, ("127.0.0.1", 1))
        with presence.announced(other, presence.directory(os.environ)):
            result = run("health", "--port", str(port))

    assert (result.exit_code, result.output) == (0, f"127.0.0.1:{port} accepts connections\n")


def test_unix_socket_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        there = run("health", "--uds", str(path))
    gone = run("health", "--uds", str(path))

    assert (there.exit_code, there.output) == (0, f"unix:{path} accepts connections\n")
    assert gone.exit_code == 1


def test_where_no_gateway_is_found_the_default_port_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setattr(sys.modules["gateway.cli.health"], "DEFAULT_PORT", port)

        result = run("health")

    assert (result.exit_code, result.output) == (0, f"127.0.0.1:{port} accepts connections\n")

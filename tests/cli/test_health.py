"""`gateway health`: a connect, and what it tells."""

import socket

import pytest

from tests.cli.commands import run


def test_listener_that_accepts_is_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        result = run("health", "--port", str(port))

        listening.accept()[0].close()  # it connected and sent nothing
    assert (result.exit_code, result.output) == (0, f"127.0.0.1:{port} accepts connections\n")


def test_nobody_there_is_status_1() -> None:
    with socket.socket() as bound:  # holds the port and does not listen
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        result = run("health", "--port", str(port))

    assert result.exit_code == 1
    assert result.output == (
        f"gateway: 127.0.0.1:{port} does not accept connections: Connection refused\n"
    )


@pytest.mark.parametrize("host", ["..", "x" * 300])
def test_host_that_is_none_is_status_1(host: str) -> None:
    result = run("health", "--host", host)

    assert result.exit_code == 1
    assert result.output.startswith(f"gateway: {host}:8080 does not accept connections: ")

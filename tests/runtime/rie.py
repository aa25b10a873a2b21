"""AWS's Runtime Interface Emulator with AWS's runtime client, asked what it would answer.

Never more than one request at a time: four at once crash it (lambda.md 1.11).
"""

import http.client
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.runtime.api_client import PATIENCE_SECONDS

INSTALLED = Path(__file__).parents[2] / "build" / "rie" / "aws-lambda-rie"
LOOK_SECONDS = 0.01
URL = "/2015-03-31/functions/function/invocations"


def binary() -> str:
    """Return the path of the emulator, or skip the test."""
    path = Path(os.environ.get("AWS_LAMBDA_RIE", INSTALLED))
    if sys.platform != "linux":
        pytest.skip("AWS's Runtime Interface Emulator runs on Linux alone")
    if not os.access(path, os.X_OK):
        pytest.skip(f"no Runtime Interface Emulator at {path}: `make tools` fetches it")
    return str(path)


class Emulator:
    """A running emulator."""

    def __init__(self, port: int) -> None:
        self._port = port

    def invoke(self, event: bytes) -> tuple[int, bytes]:
        """Return status and payload."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", URL, event)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def emulating(code: Path, variables: dict[str, str]) -> Iterator[Emulator]:
    """Run `app.handler`; neither the emulator nor what it started is left at the end."""
    port, api_port = free_ports(2)
    command = [
        *(binary(), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api_port}"),
        *(sys.executable, "-m", "awslambdaric", "app.handler"),
    ]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=code, env=variables, stdin=quiet, stdout=quiet, stderr=quiet
    )
    try:
        wait_until_open(port, process)
        yield Emulator(port)
    finally:
        end(process)


def wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(int(PATIENCE_SECONDS / LOOK_SECONDS)):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"the emulator has ended with status {process.wait(LOOK_SECONDS)}")
    pytest.fail("the emulator does not listen")


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the emulator and its runtime, and wait until both are gone."""
    runtimes = children(process.pid)
    process.kill()
    process.wait(PATIENCE_SECONDS)
    for pid in runtimes:
        with suppress(ProcessLookupError):
            end_other(pid)


def end_other(pid: int) -> None:
    """Kill a process that is not a child of this one; raises ProcessLookupError when it is gone."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], PATIENCE_SECONDS)[0], f"{pid} does not end"
    finally:
        os.close(descriptor)


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now: the emulator cannot choose one by itself."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports

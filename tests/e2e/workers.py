"""Several processes behind one port: code that changes, steady traffic, a request that waits.

The traffic is that of benchmarks/traffic.py: connections that are kept, at a steady rate.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.leftovers import children, descendants, wait_until
from tests.e2e.serving import (
    APPS,
    Gate,
    Process,
    Server,
    connect,
    gateway_command,
)
from tests.soaking import IS_SOAK

TWO = ("--workers", "2")
RATE = 250
CONNECTIONS = 40

PATIENT = ("--concurrency", "8" if IS_SOAK else "4", "--queue-timeout", "20")
"""New environments start cold: a request that comes meanwhile waits and is not throttled."""

CODE = """
def handler(event, context):
    return {"statusCode": 200, "body": "version 1"}
"""

WAYS = pytest.mark.parametrize("way", [(), ("--in-process",)], ids=["isolated", "in-process"])


def save(code: Path, version: int) -> None:
    """Save another version in one step: a server may be reading the file."""
    fresh = code / "app.new"
    fresh.write_text(CODE.replace("version 1", f"version no. {version}"))
    fresh.rename(code / "app.py")


class Traffic:
    """What came of steady traffic, once it is over."""

    answered: dict[str, int]
    errors: dict[str, int]
    raced: int
    connections: int


@contextmanager
def traffic(server: Server) -> Iterator[Traffic]:
    """Have clients keep connections busy until the block ends."""
    command = [sys.executable, "benchmarks/traffic.py", server.url, str(RATE)]
    going, end = os.pipe()
    found = Traffic()
    with os.fdopen(going, "rb") as stdin, closing(os.fdopen(end, "wb")) as tap:
        clients = Process([*command, "--http1", str(CONNECTIONS), "--http2", "0"], stdin=stdin)
        with clients:
            yield found
            tap.close()
            assert clients.wait() == 0, clients.errors.text()
            found.__dict__.update(json.loads(clients.output.wait_for_end()[-1]))


def wait_for_requests(log: Path, count: int) -> None:
    """Wait until this many more requests are in the access log."""
    before = len(log.read_text().splitlines())
    wait_until(lambda: len(log.read_text().splitlines()) >= before + count, log.read_text)


def check_nothing_lost(found: Traffic, versions: set[str], requests: int) -> None:
    assert found.errors == {}
    assert found.raced == 0
    assert set(found.answered) == versions
    assert sum(found.answered.values()) >= requests


@contextmanager
def serving_with_errors(handler: str, *options: str, code: Path = APPS) -> Iterator[Server]:
    """Serve until the block ends; the server may write to stderr."""
    command = gateway_command("serve", handler, "--code", str(code), "--port", "0", *options)
    with Server(command) as server:
        yield server.wait_until_listening()
        if server.is_running:
            assert server.stop() == 0


def command_at_gate(directory: Path, gate: Gate) -> list[str]:
    """Return a command whose workers wait at the gate while they import the handler."""
    (directory / "app.py").write_text(f"import gate\ngate.wait_at({str(gate.path)!r})\n")
    (directory / "gate.py").write_text((APPS / "gate.py").read_text())
    where = ("--code", str(directory), "--port", "0")
    return gateway_command("serve", "app.handler", *where, *TWO)


@contextmanager
def waiting(server: Server, gate: Gate) -> Iterator[Callable[[], int]]:
    """Send a request whose handler waits at the gate; yields a way to its status."""
    with closing(connect(server)) as connection:
        connection.request("GET", "/wait", headers={"X-Gate": str(gate.path)})
        gate.wait_entered()
        yield lambda: connection.getresponse().status


def worker_of(server: Server, gate: Gate) -> int:
    """Return the worker below which a process has the gate open."""
    where = str(gate.path)

    def has_it(pid: int) -> bool:
        with suppress(OSError):  # a process or a file that is gone meanwhile
            files = Path(f"/proc/{pid}/fd").iterdir()
            return any(str(file.readlink()).startswith(where) for file in files)
        return False

    pause = threading.Event()
    for _ in range(1000):
        for worker in children(server.pid):
            if any(map(has_it, descendants(worker))):
                return worker
        pause.wait(0.01)
    raise AssertionError("no handler is at the gate")

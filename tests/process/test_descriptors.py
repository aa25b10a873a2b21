"""Descriptors: all that are allowed are used, a crowd leaves room for others, and none left is a
refusal with a line and no traceback."""

import json
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path

import pytest

from tests.e2e.serving import APPS, DEADLINE_SECONDS, Process, Server, gateway_command
from tests.process.rooms import EXECUTED
from tests.process.whole import WAYS, WORKERS, cpu_seconds, look
from tests.soaking import in_soak

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def limiting(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def command(*options: str, handler: str = "echo.handler", code: Path = APPS) -> list[str]:
    return gateway_command("serve", handler, "--code", str(code), "--port", "0", *options)


@contextmanager
def limited(*options: str, soft: int, hard: int, **app: object) -> Iterator[Server]:
    started = command(*options, **app)  # type: ignore[arg-type]
    with Server(started, before_exec=limiting(soft, hard)) as server:
        yield server.wait_until_listening()
        assert server.stop() == 0
        assert server.errors.wait_for_end() == []


def status_from(address: str, server: Server) -> int:
    """Return the status that a client of another address of this machine gets."""
    connection = HTTPConnection(
        "127.0.0.1", server.port, timeout=DEADLINE_SECONDS, source_address=(address, 0)
    )
    with ExitStack() as stack:
        stack.callback(connection.close)
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_idle_connections_of_one_address_leave_room_for_others(way: tuple[str, ...]) -> None:
    options = (*way, "--quiet", "--limit", "drain_seconds=0.5")
    with limited(*options, soft=1024, hard=1024) as server, ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        statuses = [status_from("127.0.0.2", server) for _ in range(10)]
        held = look(server.pid).descriptors

    assert statuses == [200] * 10
    assert held < 512


LIMITS_HANDLER = """
import json, resource
def handler(event, context):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {"statusCode": 200, "body": json.dumps(limits)}
"""


@pytest.mark.parametrize("workers", [WORKERS[0], *in_soak(WORKERS[1])], ids=" ".join)
def test_soft_limit_is_raised_and_a_function_keeps_lambdas(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    (tmp_path / "app.py").write_text(LIMITS_HANDLER)
    app = {"handler": "app.handler", "code": tmp_path}
    with limited("--quiet", *workers, soft=1100, hard=4096, **app) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
        connection.request("GET", "/")
        told = json.loads(connection.getresponse().read())
        connection.close()
        own = {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in serving_processes(server)}

    assert told == [1024, 1024]
    assert own == {(4096, 4096)}


def serving_processes(server: Server) -> list[int]:
    """Return the processes that accept connections."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"worker_process.py" in cmdline(pid)]
    return workers or [server.pid]


def cmdline(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ((), "50 execution environments x 12 and 32 connections are 728"),
        (("--limit", "connections=900"), "and 900 connections are 1,596"),
        (("--in-process", "--limit", "connections=600"), "16 threads x 4 and 600 connections"),
        (("--workers", "2", "--concurrency", "100"), "50 execution environments x 12"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(
    options: tuple[str, ...], numbers: str
) -> None:
    with Process(command(*options), before_exec=limiting(512, 512)) as process:
        assert process.wait() == 2
        (line,) = process.errors.wait_for_end()

    assert line.startswith("gateway: 512 descriptors (ulimit -n) are too few: 96 of its own, ")
    assert numbers in line


def test_lower_number_of_connections_is_said() -> None:
    with limited(soft=1024, hard=1024) as server:
        server.output.wait_for(r"^connections: 328, 82 of one address; 1,024 descriptors")


def leave(pid: int, spare: int) -> None:
    """Leave a process this many descriptors."""
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    free = (number for number in range(1024) if number not in used)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(islice(free, spare, None)), hard))


def outcome(server: Server) -> int:
    """Return the status of a request, 0 for a connection that is closed without an answer."""
    try:
        return status_from("127.0.0.1", server)
    except ConnectionError:
        return 0


@pytest.mark.parametrize("spare", [0, 9, *in_soak(1, 14, 19)])
def test_no_descriptor_left_is_a_refusal_with_a_line(spare: int) -> None:
    with (
        limited("--concurrency", "8", *EXECUTED, soft=1024, hard=1024) as server,
        ThreadPoolExecutor(8) as clients,
    ):
        limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        leave(server.pid, spare)
        short = list(clients.map(lambda _: outcome(server), range(8)))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limit)
        after = [outcome(server) for _ in range(3)]
    text = server.output.text()

    assert set(short) <= {0, 200, 502}
    assert after == [200, 200, 200]
    assert "Traceback" not in text
    assert 502 not in short or "Too many open files" in text


def test_accepting_without_descriptors_is_said_and_takes_no_time() -> None:
    options = ("--in-process", "--threads", "0")
    with limited(*options, soft=1024, hard=1024) as server:
        leave(server.pid, 0)
        server.output.wait_for("^Too many open files: new connections are closed")
        before = cpu_seconds(server.pid)
        refused = [outcome(server) for _ in range(200)]
        spent = cpu_seconds(server.pid) - before
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        server.output.wait_for("^descriptors are free again")
        assert outcome(server) == 200

    assert set(refused) == {0}
    assert spent < 0.5

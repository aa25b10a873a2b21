"""Several processes behind one port: nothing is lost when they change, nothing is left at the end.

The traffic of the first tests is that of benchmarks/traffic.py: connections that are kept, at a
steady rate.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.leftovers import adopting, children, control_groups, descendants, wait_until
from tests.e2e.serving import (
    APPS,
    DEADLINE_SECONDS,
    ROOT,
    Gate,
    Process,
    Server,
    connect,
    gateway_command,
    get,
    serving,
    wait_until_refused,
)

pytestmark = pytest.mark.slow

TWO = ("--workers", "2")
RATE = 250
CONNECTIONS = 40

PATIENT = ("--concurrency", "8", "--queue-timeout", "20")
"""New environments start cold: a request that comes meanwhile waits and is not throttled."""

CODE = """
def handler(event, context):
    return {"statusCode": 200, "body": "version 1"}
"""

WAYS = pytest.mark.parametrize("way", [(), ("--in-process",)], ids=["isolated", "in-process"])


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(CODE)
    return tmp_path


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


# --- promise 6: a reload loses nothing ---


@WAYS
def test_rolling_all_workers_under_load_loses_no_request(
    code: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    log = tmp_path / "access.log"
    options = (*way, *PATIENT, "--limit", "drain_seconds=5", "--access-log", str(log), "--quiet")

    with serving("app.handler", *TWO, *options, code=code) as server, traffic(server) as found:
        wait_for_requests(log, RATE)
        first = children(server.pid)
        for version in (2, 3):
            before = len(server.output())
            save(code, version)
            server.signal(signal.SIGHUP)
            server.output.wait_for("^replaced 2 workers$", after=before)
            wait_for_requests(log, RATE)
        wait_until(lambda: len(children(server.pid)) == 2, server.output.text)
        last = children(server.pid)

    assert not first & last
    check_nothing_lost(found, {"version 1", "version no. 2", "version no. 3"}, 3 * RATE)
    assert found.connections > CONNECTIONS, "those of a worker that leaves are opened again"


@WAYS
def test_code_reload_under_load_loses_neither_request_nor_connection(
    code: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    log = tmp_path / "access.log"

    with (
        serving("app.handler", *way, *PATIENT, "--access-log", str(log), code=code) as server,
        traffic(server) as found,
    ):
        wait_for_requests(log, RATE)
        for version in range(2, 6):
            before = len(server.output())
            save(code, version)
            server.signal(signal.SIGHUP)
            server.output.wait_for("^reloaded app.handler$", after=before)
            wait_for_requests(log, RATE // 2)

    versions = {"version 1", *(f"version no. {version}" for version in range(2, 6))}
    check_nothing_lost(found, versions, 3 * RATE)
    assert found.connections == CONNECTIONS


# --- what a roll does ---


def test_rolled_worker_lets_its_request_finish(gate: Gate) -> None:
    with (
        serving("echo.handler", *TWO, "--timeout", "60") as server,
        waiting(server, gate) as answer,
    ):
        server.signal(signal.SIGHUP)
        server.output.wait_for("^replaced 2 workers$")
        assert get(server, "/meanwhile")[0] == 200
        gate.open()

        assert answer() == 200


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def handler(\n", "^gateway: .*[Ss]yntax ?[Ee]rror"),
        ("raise ValueError('no database')\n", "^gateway: ValueError: no database"),
    ],
)
def test_successor_that_cannot_start_leaves_the_old_ones(
    code: Path, source: str, line: str
) -> None:
    with serving_with_errors("app.handler", *TWO, code=code) as server:
        before = children(server.pid)
        (code / "app.py").write_text(source)
        server.signal(signal.SIGHUP)

        assert server.output.wait_for(
            "^worker 1 is not replaced: its successor ended with status 2 at its start$"
        )
        assert server.errors.wait_for(line)
        assert children(server.pid) == before
        assert get(server, "/") == (200, b"version 1")


# --- what is said, and divided ---


def test_lines_are_said_once_and_the_division_with_them(code: Path) -> None:
    options = ("--workers", "3", "--concurrency", "7", "--min-environments", "2")
    with serving("app.handler", *options, code=code) as server:
        server.output.wait_for("^workers")

        assert server.output()[:2] == [
            f"listening on {server.url}",
            f"try: curl -i '{server.url}/any/path?x=1&x=2'",
        ]
        assert server.output()[2].startswith("isolation: ")
        assert server.output()[-1] == (
            "workers: 3; concurrency 7 = 1 x 3 + 2 x 2; min-environments 2 = 2 x 1 + 1 x 0"
        )
        assert len(server.output()) == (5 if os.geteuid() == 0 else 4)  # what root is told
        assert len(children(server.pid)) == 3


def test_quiet_parent_says_where_it_listens_and_no_more(code: Path) -> None:
    with serving("app.handler", *TWO, "--quiet", code=code) as server:
        get(server, "/")

    assert server.output.wait_for_end() == [f"listening on {server.url}"]


def test_workers_that_cannot_start_say_it_once() -> None:
    command = gateway_command("serve", "none.handler", "--code", str(APPS), "--port", "0", *TWO)

    with Process([*command, "--quiet"]) as process:
        assert process.wait() == 2
        assert process.output.wait_for_end() == []
        [line] = process.errors.wait_for_end()
    assert line.startswith("gateway: ")
    assert "No module named 'none'" in line


def test_log_of_several_workers_has_whole_lines(code: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    options = (*TWO, *PATIENT, "--access-log", str(log), "--quiet")
    with serving("app.handler", *options, code=code) as server:
        with traffic(server) as found:
            wait_for_requests(log, RATE)
        workers = children(server.pid)

    lines = log.read_text().splitlines()
    assert len(workers) == 2
    assert len(lines) == sum(found.answered.values())
    assert {line.split()[0] for line in lines} == {"http"}
    assert {line.count('"') for line in lines} == {lines[0].count('"')}


def test_variables_of_the_parent_do_not_reach_the_function(code: Path) -> None:
    (code / "app.py").write_text(
        "import os\ndef handler(event, context):\n"
        '    return {"statusCode": 200, "body": " ".join(sorted(os.environ))}\n'
    )
    with serving("app.handler", *TWO, "--in-process", code=code) as server:
        names = get(server, "/")[1].decode().split()

    assert "PATH" in names
    assert [name for name in names if name.startswith("GATEWAY")] == []


@pytest.mark.parametrize("way", [("--server", "uvicorn"), ("--reload",)], ids=" ".join)
def test_workers_serve_in_other_ways(code: Path, way: tuple[str, ...]) -> None:
    with serving("app.handler", *TWO, *way, code=code) as server:
        assert get(server, "/") == (200, b"version 1")
        if "--reload" in way:
            save(code, 2)
            server.output.wait_for("^reloaded app.handler$")
        else:
            server.signal(signal.SIGHUP)
            server.output.wait_for("^replaced 2 workers$")
            assert get(server, "/") == (200, b"version 1")


# --- the end of a worker ---


def test_worker_that_dies_costs_only_its_own_connections(gate: Gate) -> None:
    with serving("echo.handler", *TWO, "--timeout", "60") as server:
        with waiting(server, gate) as answer:
            victim = worker_of(server, gate)
            os.kill(victim, signal.SIGKILL)
            server.output.wait_for(
                rf"^worker [12] \(process {victim}\) was ended by SIGKILL; another one starts now$"
            )
            with pytest.raises(ConnectionError):
                answer()
        statuses = Counter(get(server, "/")[0] for _ in range(20))
        wait_until(lambda: len(children(server.pid)) == 2, server.output.text)

        assert statuses == {200: 20}
        assert victim not in children(server.pid)


def test_worker_that_dies_again_and_again_is_started_later_each_time(code: Path) -> None:
    with serving("app.handler", *TWO, "--in-process", "--quiet", code=code) as server:
        victim, other = children(server.pid)
        for pause in ("now", "in 1 s, after 2 quick exits in a row"):
            os.kill(victim, signal.SIGKILL)
            assert server.output.wait_for(rf"process {victim}\) .* another one starts {pause}$")
            assert get(server, "/")[0] == 200
            wait_until(lambda: len(children(server.pid)) == 2, server.output.text)
            [victim] = children(server.pid) - {other}


# --- the end of the parent ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stop_lets_requests_finish_and_leaves_nothing(gate: Gate, number: int) -> None:
    with adopting() as left:
        with serving("echo.handler", *TWO, "--timeout", "60") as server:
            workers = children(server.pid)
            with waiting(server, gate) as answer:
                server.signal(number)
                wait_until_refused(server)
                gate.open()

                assert answer() == 200
            assert server.wait() == 0
            assert server.errors.wait_for_end() == []
        assert left() == []
    assert [group for pid in workers for group in control_groups(pid)] == []


def test_second_interrupt_ends_at_once(gate: Gate) -> None:
    with serving("echo.handler", *TWO, "--timeout", "60") as server:
        with waiting(server, gate):
            server.signal(signal.SIGINT)
            wait_until_refused(server)
            server.signal(signal.SIGINT)

            assert server.wait() == 0
        assert not gate.has_been_passed()
        assert server.errors.wait_for_end() == []


@WAYS
def test_stop_during_the_start_leaves_nothing(
    tmp_path: Path, gate: Gate, way: tuple[str, ...]
) -> None:
    command = command_at_gate(tmp_path, gate)
    with adopting() as left, Process([*command, *way]) as process:
        gate.wait_entered()
        process.signal(signal.SIGTERM)

        assert process.wait() == 0
        assert process.output.wait_for_end() == []
        assert process.errors.wait_for_end() == []
        assert left() == []


def test_worker_that_is_killed_at_its_start_is_said_to_be(tmp_path: Path, gate: Gate) -> None:
    with Process([*command_at_gate(tmp_path, gate), "--in-process"]) as process:
        gate.wait_entered()
        [worker] = children(process.pid)
        os.kill(worker, signal.SIGKILL)

        assert process.wait() == 2
        assert process.errors.wait_for_end() == [
            "gateway: worker 1 was ended by SIGKILL at its start"
        ]


def test_workers_of_a_dead_parent_finish_and_end(gate: Gate) -> None:
    with adopting() as left:
        with serving_with_errors("echo.handler", *TWO, "--timeout", "60") as server:
            with waiting(server, gate) as answer:
                processes = descendants(server.pid)
                server.signal(signal.SIGKILL)
                server.wait()
                wait_until_refused(server)
                gate.open()

                assert answer() == 200
            lines = server.errors.wait_for_end()
        wait_until(lambda: left() == [], left)
    assert sorted(lines) == [f"gateway: the parent has died, worker {n} stops" for n in (1, 2)]
    assert [group for pid in processes for group in control_groups(pid)] == []


def test_worker_of_a_dead_parent_ends_in_the_middle_of_an_import(
    tmp_path: Path, gate: Gate
) -> None:
    command = command_at_gate(tmp_path, gate)
    with adopting() as left:
        with Process([*command, "--in-process"]) as process:
            gate.wait_entered()
            process.signal(signal.SIGKILL)
            process.wait()
            lines = process.errors.wait_for_end()
        wait_until(lambda: left() == [], left)
    assert lines == ["gateway: the parent has died, worker 1 stops"]


def test_worker_that_is_stuck_is_killed_after_a_second_interrupt(code: Path) -> None:
    with adopting() as left:
        with serving("app.handler", *TWO, code=code) as server:
            stuck = min(children(server.pid))
            os.kill(stuck, signal.SIGSTOP)
            server.signal(signal.SIGINT)
            wait_until(lambda: children(server.pid) == {stuck}, server.output.text)
            server.signal(signal.SIGINT)

            assert server.wait() == 0
        wait_until(lambda: left() == [], left)


# --- other sockets ---


def test_unix_socket_of_workers_is_removed_by_the_parent_alone(code: Path, tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path / "s", ROOT))
    command = gateway_command("serve", "app.handler", "--code", str(code), "--uds", str(path), *TWO)
    with Process(command) as server:
        server.output.wait_for("^workers: ")
        server.signal(signal.SIGHUP)
        server.output.wait_for("^replaced 2 workers$")
        wait_until(lambda: len(children(server.pid)) == 2, server.output.text)

        assert asked_through(tmp_path / "s").endswith(b"\r\n\r\nversion 1")
        assert server.stop() == 0
        assert not (tmp_path / "s").exists()


def asked_through(path: Path) -> bytes:
    """Return what a server on a Unix socket answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_SECONDS)
        directory = os.open(path.parent, os.O_RDONLY)
        try:  # a short name for a path that may be too long
            client.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: client.recv(4096), b""))


ACTIVATE = """
import os, socket, sys
given = socket.create_server(("127.0.0.1", 0))
os.dup2(given.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

WITHIN = """
import os
def handler(event, context):
    names = [name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
    return {"statusCode": 200, "body": f"version 1{names}"}
"""


@pytest.mark.parametrize("way", [(), ("--in-process",), TWO], ids=" ".join)
def test_service_manager_hands_over_a_socket_and_is_told(
    code: Path, tmp_path: Path, way: tuple[str, ...]
) -> None:
    (code / "app.py").write_text(WITHIN)
    address = f"\0gateway-test-{os.getpid()}-{tmp_path.name}"
    serve = ("-m", "gateway", "serve", "app.handler", "--code", str(code), *way)
    env = {"NOTIFY_SOCKET": address.replace("\0", "@"), "WATCHDOG_USEC": "60000000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(DEADLINE_SECONDS)
        manager.bind(address)
        with Server([sys.executable, "-c", ACTIVATE, *serve], env=env) as server:
            server.wait_until_listening()
            told = [manager.recv(4096).decode().split("\n") for _ in range(2)]
            body = get(server, "/")[1]
            server.signal(signal.SIGHUP)
            told += [manager.recv(4096).decode().split("\n") for _ in range(2)]
            assert server.stop() == 0
            told.append(manager.recv(4096).decode().split("\n"))

    assert body == b"version 1[]"
    assert [message[0] for message in told] == [
        "WATCHDOG=1",
        "READY=1",
        "RELOADING=1",
        "READY=1",
        "STOPPING=1",
    ]
    assert told[1][1].startswith(f"STATUS=listening on {server.url}")
    assert told[2][1].startswith("MONOTONIC_USEC=")


# --- tools of the tests ---


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

"""Several processes behind one port: what they say and share, on sockets of each kind."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.e2e.leftovers import children, wait_until
from tests.e2e.serving import (
    APPS,
    DEADLINE_SECONDS,
    ROOT,
    Process,
    Server,
    gateway_command,
    get,
    serving,
)
from tests.e2e.workers import (
    CODE,
    PATIENT,
    RATE,
    TWO,
    save,
    traffic,
    wait_for_requests,
)
from tests.soaking import in_soak

pytestmark = pytest.mark.slow


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(CODE)
    return tmp_path


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
    with serving("app.handler", *TWO, "--in-process", "--quiet", code=code) as server:
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


def test_worker_is_known_by_the_arguments_of_its_parent(code: Path) -> None:
    (code / "app.py").write_text(
        "import sys\ndef handler(event, context):\n"
        '    return {"statusCode": 200, "body": " ".join(sys.argv[1:])}\n'
    )
    with serving("app.handler", *TWO, "--in-process", code=code) as server:
        words = get(server, "/")[1].decode()
        shown = {
            Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            for pid in children(server.pid)
        }

    assert words.startswith("serve app.handler --code ")
    assert [words in line for line in shown] == [True, True]


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


# --- other sockets ---


def test_unix_socket_of_workers_is_removed_by_the_parent_alone(code: Path, tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path / "s", ROOT))
    command = gateway_command(
        "serve", "app.handler", "--code", str(code), "--uds", str(path), *TWO, "--in-process"
    )
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


@pytest.mark.parametrize("way", [(), TWO, *in_soak(("--in-process",))], ids=" ".join)
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

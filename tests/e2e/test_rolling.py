"""Several processes behind one port: nothing is lost when they change."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.leftovers import children, wait_until
from tests.e2e.serving import (
    ROOT,
    Gate,
    Server,
    gateway_command,
    get,
    serving,
)
from tests.e2e.workers import (
    CODE,
    CONNECTIONS,
    PATIENT,
    RATE,
    TWO,
    WAYS,
    check_nothing_lost,
    save,
    serving_with_errors,
    traffic,
    wait_for_requests,
    waiting,
)
from tests.soaking import IS_SOAK, soak_only

pytestmark = pytest.mark.slow

VERSION = "version no. {}"
VERSIONS = range(2, 6 if IS_SOAK else 3)
"""What is saved after the first one, one after the other."""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(CODE)
    return tmp_path


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
        for version in VERSIONS:
            before = len(server.output())
            save(code, version)
            server.signal(signal.SIGHUP)
            server.output.wait_for("^replaced 2 workers$", after=before)
            wait_for_requests(log, RATE)
        wait_until(lambda: len(children(server.pid)) == 2, server.output.text)
        last = children(server.pid)

    assert not first & last
    check_nothing_lost(found, {"version 1", *map(VERSION.format, VERSIONS)}, len(VERSIONS) * RATE)
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
        for version in VERSIONS:
            before = len(server.output())
            save(code, version)
            server.signal(signal.SIGHUP)
            server.output.wait_for("^reloaded app.handler$", after=before)
            wait_for_requests(log, RATE // 2)

    versions = {"version 1", *map(VERSION.format, VERSIONS)}
    check_nothing_lost(found, versions, RATE)
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
        ("raise ValueError('no database')\n", "^gateway: ValueError: no database"),
        pytest.param("def handler(\n", "^gateway: .*[Ss]yntax ?[Ee]rror", marks=soak_only),
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


def test_successor_reads_the_file_of_variables_again(code: Path, tmp_path: Path) -> None:
    (code / "app.py").write_text(
        "import os\n\n"
        "def handler(event, context):\n"
        "    return {'statusCode': 200, 'body': os.environ['KIND']}\n"
    )
    file = tmp_path / "variables"
    file.write_text("KIND=plain\n")
    with serving_with_errors("app.handler", *TWO, "--env-file", str(file), code=code) as server:
        seen = [get(server, "/")[1]]
        file.write_text("KIND=other\n")
        server.signal(signal.SIGHUP)
        server.output.wait_for("^replaced 2 workers$")
        seen.append(get(server, "/")[1])
        file.write_text("nothing\n")
        server.signal(signal.SIGHUP)
        server.output.wait_for("^worker 1 is not replaced: ")
        seen.append(get(server, "/")[1])

        assert seen == [b"plain", b"other", b"other"]
        assert server.errors.wait_for("^gateway: environment variable 'nothing' needs the form")


def test_successors_may_be_of_another_version_of_the_gateway(code: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    shutil.copytree(ROOT / "gateway", installed / "gateway", ignore=lambda *_: {"__pycache__"})
    listener = installed / "gateway" / "config" / "listener.py"
    options = ("--code", str(code), "--port", "0", *TWO, "--as", "https://shop.example.org")
    command = gateway_command("serve", "app.handler", *options)
    with Server(command, cwd=installed, env={"PYTHONPATH": str(installed)}) as server:
        server.wait_until_listening()
        field = '    host: str = "127.0.0.1"\n'
        assert field in listener.read_text()
        listener.write_text(listener.read_text().replace(field, f"    fresh: int = 1\n{field}"))
        server.signal(signal.SIGHUP)

        assert server.output.wait_for("^replaced 2 workers$")
        assert get(server, "/") == (200, b"version 1")
        assert server.stop() == 0

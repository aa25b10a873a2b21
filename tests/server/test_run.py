"""The signals of one process; what happens to requests meanwhile is in tests/e2e."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.e2e.leftovers import wait_until
from tests.e2e.serving import APPS, Gate, Process, Server, connect, gateway_command, get

PROGRAM = """
import os, sys
from pathlib import Path
from gateway.server import run as server
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.telemetry.fanout import Fanout

function = Function(sys.argv[1], Path(sys.argv[2]))
described = document(
    function, port=0, is_in_process={in_process}, server="{server}", uds="{uds}"
)

def stop(*_):
    for _ in range(2):
        os.kill(os.getpid(), {number})

when = stop
if {is_early}:
    for name in ("listener_front", "portable_front"):
        composed = getattr(server, name)
        stopped = lambda *given, composed=composed, **named: [stop(), composed(*given, **named)][1]
        setattr(server, name, stopped)
    when = lambda *_: None
try:
    server.run(described, Fanout([]), when)
except Exception as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
print("done")
"""

pytestmark = pytest.mark.slow

IN_BOTH_WAYS = pytest.mark.parametrize("in_process", [True, False], ids=["in-process", "isolated"])
STOPPING = [signal.SIGTERM, signal.SIGINT]


def program(
    handler: str,
    number: int = signal.SIGTERM,
    *,
    in_process: bool,
    is_early: bool = False,
    server: str = "front",
    uds: str = "",
) -> list[str]:
    text = PROGRAM.format(
        number=int(number), in_process=in_process, is_early=is_early, server=server, uds=uds
    )
    return [sys.executable, "-c", text, handler, str(APPS)]


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
@IN_BOTH_WAYS
def test_signal_is_not_lost_while_the_listener_is_announced(
    number: int, *, in_process: bool
) -> None:
    with Process(program("echo.handler", number, in_process=in_process)) as process:
        assert process.wait() == 0
        assert process.output.wait_for_end() == ["done"]
        assert process.errors.wait_for_end() == []


@pytest.mark.parametrize("server", ["front", "uvicorn"])
@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_signal_between_start_and_service_stops_the_server(number: int, server: str) -> None:
    command = program("echo.handler", number, in_process=False, is_early=True, server=server)

    with Process(command) as process:
        assert process.wait() == 0
        assert process.output.wait_for_end() == ["done"]
        assert process.errors.wait_for_end() == []


@IN_BOTH_WAYS
def test_setting_that_cannot_be_used_is_raised_as_it_is(*, in_process: bool) -> None:
    with Process(program("echo.no_such_handler", in_process=in_process)) as process:
        assert process.wait() == 1
        [line] = process.errors.wait_for_end()
        assert line.startswith("InvalidSetting: ")


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "s"


# --- SIGHUP ---

CODE = """
def handler(event, context):
    return {"statusCode": 200, "body": "version 1"}
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(CODE)
    return tmp_path


WAYS = pytest.mark.parametrize(
    "way",
    [[], ["--in-process"], ["--in-process", "--server", "uvicorn"]],
    ids=lambda way: " ".join(way) or "isolated",
)


def command_for(code: Path, *options: str) -> list[str]:
    return gateway_command("serve", "app.handler", "--code", str(code), "--port", "0", *options)


def ask(connection: HTTPConnection) -> tuple[bytes, object]:
    """Return the body of a response, and the client's address."""
    connection.request("GET", "/")
    return connection.getresponse().read(), connection.sock.getsockname()


@WAYS
def test_hangup_takes_in_the_code_and_keeps_the_connection(code: Path, way: list[str]) -> None:
    with Server(command_for(code, *way)) as server:
        connection = connect(server.wait_until_listening())
        first = ask(connection)
        (code / "app.py").write_text(CODE.replace("version 1", "version no. 2"))
        server.signal(signal.SIGHUP)
        server.output.wait_for("^reloaded app.handler$")
        second = ask(connection)
        connection.close()

        assert (first[0], second[0]) == (b"version 1", b"version no. 2")
        assert first[1] == second[1], "another connection"
        assert server.stop() == 0
        assert server.errors.wait_for_end() == []


@pytest.mark.parametrize(
    ("way", "save"),
    [
        ([], "def handler("),
        ([], "raise SystemExit\n"),
        (["--in-process"], "def handler("),
        (["--in-process"], "raise SystemExit\n"),
        (["--in-process"], "handler = 3\n"),
        (["--in-process", "--server", "uvicorn"], "def handler("),
    ],
)
def test_hangup_with_a_broken_save_keeps_the_old_code(
    code: Path, way: list[str], save: str
) -> None:
    with Server(command_for(code, *way)) as server:
        server.wait_until_listening()
        (code / "app.py").write_text(save)
        server.signal(signal.SIGHUP)
        server.output.wait_for("^could not reload app.handler:$")
        server.output.wait_for("^    the code before it goes on serving$")

        assert get(server, "/") == (200, b"version 1")
        assert server.stop() == 0


def test_quiet_server_says_what_it_could_not_reload(code: Path) -> None:
    with Server(command_for(code, "--quiet")) as server:
        server.wait_until_listening()
        (code / "app.py").write_text("def handler(")
        server.signal(signal.SIGHUP)

        assert server.errors.wait_for("^gateway: not reloaded: .*[Ss]yntax")
        assert server.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_hangup_of_a_terminal_that_is_gone_stops_the_server(code: Path, workers: str) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "rb", buffering=0) as terminal:
        server = Server(command_for(code, "--workers", workers), stdin=terminal)
    with server:
        server.wait_until_listening()
        os.close(ours)
        server.signal(signal.SIGHUP)

        assert server.wait() == 0
        assert server.errors.wait_for_end() == []


# --- Unix sockets ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("is_started", [False, True], ids=["opened", "started"])
def test_signal_in_a_slow_start_leaves_no_socket_file(
    code: Path, path: Path, gate: Gate, number: int, *, is_started: bool
) -> None:
    source = f"import gate\ngate.wait_at({str(gate.path)!r})\n"
    (code / "app.py").write_text(source)
    (code / "gate.py").write_text((APPS / "gate.py").read_text())
    with Process(command_for(code, "--uds", str(path))) as process:
        wait_until(path.exists, process.errors.text)
        if is_started:
            gate.wait_entered()
        process.signal(number)

        assert process.wait() == -number
        assert not path.exists()


@pytest.mark.parametrize("server", ["front", "uvicorn"])
def test_unix_socket_is_announced_and_serves(code: Path, path: Path, server: str) -> None:
    (code / "app.py").write_text(
        "def handler(event, context):\n"
        '    names = ("x-forwarded-for", "x-forwarded-port", "x-forwarded-proto")\n'
        '    body = " ".join(event["headers"][name] for name in names)\n'
        '    return {"statusCode": 200, "body": body}\n'
    )
    with Process(command_for(code, "--uds", str(path), "--server", server)) as process:
        process.output.wait_for("^isolation: ")
        assert process.output()[:2] == [
            f"listening on unix:{path}",
            f"try: curl -i --unix-socket {path} 'http://localhost/any/path?x=1&x=2'",
        ]

        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(
                b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n"
                b"Connection: close\r\n\r\n"
            )
            answer = b"".join(iter(lambda: client.recv(4096), b""))

        assert answer.endswith(b"\r\n\r\n192.0.2.1, 127.0.0.1 80 http")
        assert process.stop() == 0
        assert not path.exists()
        assert process.errors.wait_for_end() == []

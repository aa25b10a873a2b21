"""`--reload`: saved code serves the next request, and a save that is broken changes nothing."""

import re
import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import BOTH_WAYS, WITHOUT_TLS, Serve
from tests.e2e.serving import (
    Gate,
    get,
)
from tests.e2e.waiting import code_with_gate, waiting_request

pytestmark = pytest.mark.slow

ECHO = "echo.handler"
LONG = ("--timeout", "60")
STOPPING = [signal.SIGTERM, signal.SIGINT]
FIELD = re.compile(r'"[^"]*"|\S+')


CODE = """
import gate

def handler(event, context):
    directory = event["headers"].get("x-gate")
    if directory:
        gate.wait_at(directory)
    return {"statusCode": 200, "body": "version 1"}
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return code_with_gate(tmp_path, CODE)


@BOTH_WAYS
def test_saved_code_serves_the_next_request(serve: Serve, code: Path) -> None:
    server = serve("app.handler", "--reload", code=code)
    first = get(server, "/")

    (code / "app.py").write_text(CODE.replace("version 1", "version 2"))
    server.output.wait_for("^reloaded app.handler$")

    assert first == (200, b"version 1")
    assert get(server, "/") == (200, b"version 2")


@BOTH_WAYS
def test_request_that_runs_keeps_the_old_code(serve: Serve, code: Path, gate: Gate) -> None:
    server = serve("app.handler", "--reload", *LONG, code=code)

    with waiting_request(server, gate) as request:
        (code / "app.py").write_text(CODE.replace("version 1", "version 2"))
        server.output.wait_for("^reloaded app.handler$")
        gate.open()

        assert request.answer() == (200, b"version 1")


@BOTH_WAYS
def test_imported_module_is_reloaded_too(serve: Serve, code: Path) -> None:
    (code / "words.py").write_text("WORD = 'old'\n")
    (code / "app.py").write_text(
        "import words\ndef handler(event, context):\n"
        "    return {'statusCode': 200, 'body': words.WORD}\n"
    )
    server = serve("app.handler", "--reload", code=code)
    first = get(server, "/")

    (code / "words.py").write_text("WORD = 'new'\n")
    server.output.wait_for("^reloaded app.handler$")

    assert (first, get(server, "/")) == ((200, b"old"), (200, b"new"))


@WITHOUT_TLS
def test_no_request_is_lost_while_files_are_saved(serve: Serve, code: Path) -> None:
    server = serve("app.handler", "--reload", code=code)
    over = threading.Event()
    answers: list[tuple[int, bytes]] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, verify=False, timeout=60) as client:
            while not over.is_set():
                response = client.get("/")
                answers.append((response.status_code, response.content))

    get(server, "/")
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 6):
        before = len(server.output())
        (code / "app.py").write_text(CODE.replace("version 1", f"version {version}"))
        server.output.wait_for("^reloaded app.handler$", after=before)
    over.set()
    for thread in threads:
        thread.join()

    assert {status for status, _ in answers} == {200}
    assert {body for _, body in answers} <= {b"version %d" % number for number in range(1, 6)}
    assert get(server, "/") == (200, b"version 5")


@BOTH_WAYS
def test_syntax_error_is_printed_and_the_code_before_it_serves(serve: Serve, code: Path) -> None:
    server = serve("app.handler", "--reload", code=code)
    get(server, "/")

    (code / "app.py").write_text("def handler(event, context)\n    return {}\n")
    server.output.wait_for("^could not reload app.handler:$")
    server.output.wait_for(r"^    Runtime.UserCodeSyntaxError: .*expected ':' \(app.py, line 1\)$")
    meanwhile = get(server, "/")
    before = len(server.output())
    (code / "app.py").write_text(CODE.replace("version 1", "fixed"))
    server.output.wait_for("^reloaded app.handler$", after=before)

    assert meanwhile == (200, b"version 1")
    assert get(server, "/") == (200, b"fixed")


@BOTH_WAYS
def test_reload_starts_with_code_that_is_broken(serve: Serve, code: Path) -> None:
    (code / "app.py").write_text("import no_such_module_anywhere\n")
    server = serve("app.handler", "--reload", code=code)
    broken = get(server, "/")

    (code / "app.py").write_text(CODE)
    server.output.wait_for("^reloaded app.handler$")

    assert broken[0] == 502
    server.output.wait_for("No module named 'no_such_module_anywhere'")
    assert get(server, "/") == (200, b"version 1")

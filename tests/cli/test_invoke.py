"""`gateway invoke`: a handler, run once."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import HANDLERS, refusal, run, run_process
from tests.e2e.leftovers import adopting, control_groups, wait_until
from tests.e2e.serving import Process, gateway_command

pytestmark = pytest.mark.slow

WAYS = pytest.mark.parametrize("way", [[], ["--in-process"]], ids=["environment", "in-process"])


@pytest.fixture
def code(tmp_path: Path) -> str:
    (tmp_path / "app.py").write_text(HANDLERS)
    return str(tmp_path)


@WAYS
def test_reply_is_all_there_is_on_stdout(code: str, way: list[str]) -> None:
    status, output, errors = run_process("invoke", "app.handler", "--code", code, *way)

    assert (status, output) == (0, ['{"statusCode":200,"body":"none"}'])
    assert errors[:2] == ["printed at import", "printed"]
    assert errors[2].startswith("[WARNING]\t")
    assert errors[2].endswith("\tlogged")


def test_code_is_the_current_directory_by_default(code: str) -> None:
    status, output, _ = run_process("invoke", "app.handler", cwd=Path(code))

    assert (status, output) == (0, ['{"statusCode":200,"body":"none"}'])


def test_event_comes_from_a_file(code: str, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"path": "/cart"}')

    _, output, _ = run_process("invoke", "app.handler", "--code", code, "--event", str(event))

    assert json.loads(output[0])["body"] == "/cart"


def test_event_comes_from_stdin(code: str, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(run("event", "GET", "http://shop.example.org/cart").stdout)

    with event.open("rb") as stdin:
        arguments = ("invoke", "app.handler", "--code", code, "--event", "-")
        _, output, _ = run_process(*arguments, stdin=stdin)

    assert json.loads(output[0])["body"] == "/cart"


@WAYS
def test_function_error_is_the_reply_and_status_1(code: str, way: list[str]) -> None:
    status, [line], errors = run_process("invoke", "app.failing", "--code", code, *way)

    error = json.loads(line)
    assert status == 1
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no such customer")
    assert "[ERROR] ValueError: no such customer" in errors


@WAYS
def test_timeout_is_a_function_error(code: str, way: list[str]) -> None:
    arguments = ("invoke", "app.stuck", "--code", code, "--timeout", "0.1")
    status, [line], _ = run_process(*arguments, *way)

    assert status == 1
    assert json.loads(line)["errorMessage"].endswith("Task timed out after 0.10 seconds")


@WAYS
def test_function_finds_its_settings(tmp_path: Path, way: list[str]) -> None:
    (tmp_path / "app.py").write_text(
        "import os\ndef handler(event, context):\n"
        "    return [context.function_name, context.memory_limit_in_mb, os.environ['GREETING'],\n"
        "            os.environ['AWS_REGION'], context.invoked_function_arn]\n"
    )
    options = ["--function-name", "shop", "--memory-size", "256", "--env", "GREETING=hello"]
    options += ["--region", "eu-west-1", "--account-id", "111122223333"]

    _, [line], _ = run_process("invoke", "app.handler", "--code", str(tmp_path), *options, *way)

    arn = "arn:aws:lambda:eu-west-1:111122223333:function:shop"
    assert json.loads(line) == ["shop", "256", "hello", "eu-west-1", arn]


@WAYS
def test_handler_that_is_not_there_is_the_reply_and_status_2(code: str, way: list[str]) -> None:
    status, [line], errors = run_process("invoke", "other.handler", "--code", code, *way)

    error = json.loads(line)
    assert status == 2
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert error["errorMessage"] == "Unable to import module 'other': No module named 'other'"
    assert f"[ERROR] Runtime.ImportModuleError: {error['errorMessage']}" in errors


@pytest.mark.parametrize("way", [[], ["--in-process"], ["--runtime-client", "awslambdaric"]])
def test_init_that_fails_is_the_reply_with_its_traceback_and_status_1(
    code: str, way: list[str]
) -> None:
    Path(code, "broken.py").write_text("print('loading')\nraise ValueError('no database')\n")
    status, [line], errors = run_process("invoke", "broken.handler", "--code", code, *way)

    error = json.loads(line)
    assert status == 1
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no database")
    assert error["requestId"] == ""
    assert error["stackTrace"]
    assert "loading" in errors
    assert errors.count("[ERROR] ValueError: no database") == 1
    assert any("broken.py" in each for each in errors)


def test_init_that_fails_once_is_run_again_inside_the_invocation(code: str) -> None:
    Path(code, "flaky.py").write_text(
        "import os, tempfile\n"
        "been = os.path.join(tempfile.gettempdir(), 'been')\n"
        "if not os.path.exists(been):\n"
        "    open(been, 'w').close()\n"
        "    raise ConnectionError('no database yet')\n"
        "def handler(event, context):\n"
        "    return 'served'\n"
    )
    status, output, errors = run_process("invoke", "flaky.handler", "--code", code)

    assert (status, output) == (0, ['"served"'])
    assert "[ERROR] ConnectionError: no database yet" in errors


def test_environment_is_one_of_lambdas(code: str, tmp_path: Path) -> None:
    layer = tmp_path / "layer" / "python"
    layer.mkdir(parents=True)
    (layer / "library.py").write_text("NAME = 'from the layer'\n")
    Path(code, "isolated.py").write_text(
        "import library, os\n"
        "def handler(event, context):\n"
        "    api = os.environ['AWS_LAMBDA_RUNTIME_API']\n"
        "    return [library.NAME, api[:10], 'HOME' in os.environ]\n"
    )
    options = ("--code", code, "--layer", str(layer.parent))

    status, [line], _ = run_process("invoke", "isolated.handler", *options)

    assert (status, json.loads(line)) == (0, ["from the layer", "127.0.0.1:", False])


def test_log_type_tail_shows_the_log_from_start_to_report(code: str) -> None:
    arguments = ("invoke", "app.failing", "--code", code, "--log-type", "Tail")
    status, [line], errors = run_process(*arguments)

    kinds = [said.split()[0] for said in errors]
    assert (status, json.loads(line)["errorType"]) == (1, "ValueError")
    assert [errors[0], kinds[1], *kinds[-2:]] == ["printed at import", "START", "END", "REPORT"]
    assert "[ERROR] ValueError: no such customer" in errors


def test_tail_is_in_the_format_of_the_function(code: str) -> None:
    options = ("--log-type", "Tail", "--function-log-format", "JSON", "--log-group", "team/shop")
    _, _, errors = run_process("invoke", "app.handler", "--code", code, *options)

    start, *_, report = (json.loads(line) for line in errors if line.startswith('{"time"'))
    logged = next(json.loads(line) for line in errors if "logged" in line)
    assert (start["type"], report["type"]) == ("platform.start", "platform.report")
    assert (logged["level"], logged["message"]) == ("WARNING", "logged")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("number", "ending"), [(signal.SIGINT, 1), (signal.SIGTERM, -15)])
def test_nothing_is_left_of_an_invocation_that_is_interrupted(
    code: str, number: int, ending: int
) -> None:
    command = gateway_command("invoke", "app.stuck", "--code", code, "--timeout", "900")
    with adopting() as left, Process(command) as process:
        process.errors.wait_for("printed at import")
        process.signal(number)
        status = process.wait()
        wait_until(lambda: not left(), left)

        assert status == ending
        assert control_groups(process.pid) == []


def test_there_is_no_tail_in_process() -> None:
    said = refusal(run("invoke", "app.handler", "--in-process", "--log-type", "Tail"))

    assert said == "--log-type Tail is for execution environments, not for --in-process"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "--event event.json cannot be read: No such file or directory"),
        ("{'path': 1}", "--event event.json is not JSON: Expecting property name"),
        ("", "--event event.json is not JSON: Expecting value"),
        ("[" * 100_000, "--event event.json is not JSON: maximum recursion depth"),
    ],
    ids=["missing", "no JSON", "empty", "deep"],
)
def test_bad_event_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("event.json").write_text(content)

    assert line in refusal(run("invoke", "app.handler", "--event", "event.json"))


DRIVING = """
def handler(event, context):
    print("a\\x1b[2J\\x9b\\u202eb")
    raise ValueError("\\x1b]0;title\\x07")

def text(event, context):
    return "\\x7f\\x9b\\u202e"
"""


@WAYS
def test_what_a_function_writes_does_not_drive_the_terminal(tmp_path: Path, way: list[str]) -> None:
    (tmp_path / "app.py").write_text(DRIVING)

    _, _, errors = run_process("invoke", "app.handler", "--code", str(tmp_path), *way)

    assert errors[0] == "a\\x1b[2J\\x9b\\u202eb"
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set("".join(errors))


def test_a_tail_does_not_drive_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(DRIVING)
    arguments = ("invoke", "app.handler", "--code", str(tmp_path), "--log-type", "Tail")

    _, _, errors = run_process(*arguments)

    assert "a\\x1b[2J\\x9b\\u202eb" in errors
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set("".join(errors))


def test_a_reply_is_shown_to_a_terminal_and_left_alone_for_a_program(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(DRIVING)
    command = gateway_command("invoke", "app.text", "--code", str(tmp_path))
    terminal, theirs = pty.openpty()
    with os.fdopen(terminal, "rb", 0) as screen, os.fdopen(theirs, "wb", 0) as stdout:
        subprocess.run(command, stdout=stdout, check=True)
        shown = screen.read(1000).decode()
    plain = subprocess.run(command, stdout=-1, check=True).stdout.decode()

    assert shown.strip() == '"\\u007f\\u009b\\u202e"'
    assert json.loads(plain) == json.loads(shown) == "\x7f\x9b\u202e"

"""`gateway invoke`: a handler, run once."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import HANDLERS, process_refusal, refusal, run, run_process

pytestmark = pytest.mark.slow


@pytest.fixture
def code(tmp_path: Path) -> str:
    (tmp_path / "app.py").write_text(HANDLERS)
    return str(tmp_path)


def test_reply_is_all_there_is_on_stdout(code: str) -> None:
    status, output, errors = run_process("invoke", "app.handler", "--code", code)

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


def test_function_error_is_the_reply_and_status_1(code: str) -> None:
    status, [line], errors = run_process("invoke", "app.failing", "--code", code)

    error = json.loads(line)
    assert status == 1
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no such customer")
    assert "[ERROR] ValueError: no such customer" in errors


def test_timeout_is_a_function_error(code: str) -> None:
    arguments = ("invoke", "app.stuck", "--code", code, "--timeout", "0.1")
    status, [line], _ = run_process(*arguments)

    assert status == 1
    assert json.loads(line)["errorMessage"].endswith("Task timed out after 0.10 seconds")


def test_function_finds_its_settings(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os\ndef handler(event, context):\n"
        "    return [context.function_name, context.memory_limit_in_mb, os.environ['GREETING'],\n"
        "            os.environ['AWS_REGION'], context.invoked_function_arn]\n"
    )
    options = ["--function-name", "shop", "--memory-size", "256", "--env", "GREETING=hello"]
    options += ["--region", "eu-west-1", "--account-id", "111122223333"]

    _, [line], _ = run_process("invoke", "app.handler", "--code", str(tmp_path), *options)

    arn = "arn:aws:lambda:eu-west-1:111122223333:function:shop"
    assert json.loads(line) == ["shop", "256", "hello", "eu-west-1", arn]


def test_handler_that_is_not_there_is_one_line(code: str) -> None:
    said = process_refusal("invoke", "other.handler", "--code", code)

    assert "No module named 'other'" in said


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

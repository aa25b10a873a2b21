"""Loading, context, errors, invocations and logs, each held against AWS's client, awslambdaric."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import awslambdaric.bootstrap as aws
import pytest

from gateway.core import function_errors
from gateway.runtime.child import bootstrap
from gateway.runtime.child.bootstrap import (
    InitError,
    error_log_lines,
    error_payload,
    failed,
    invoke,
    load_handler,
)
from gateway.runtime.child.lambda_context import FunctionSettings, LambdaContext
from tests.runtime.child.functions import interpreter
from tests.runtime.oracle import AWS, Posted, init_error_by_aws, json_client, posted

HERE = Path(__file__).parent
SETTINGS = FunctionSettings()


MODULES = {
    "good": "def handler(event, context):\n    return event\nname = 'text'\n",
    "needs": "import no_such_module_anywhere\n",
    "wants": "from json import no_such_name\n",
    "typo": "def handler(event, context)\n    return 1\n",
    "nested_typo": "import typo\n",
    "raises": "class Odd(Exception):\n    pass\ndef deep():\n    raise Odd('at import')\ndeep()\n",
    "silent": "raise KeyError\n",
    "lazy": "def __getattr__(name):\n    raise RuntimeError('no ' + name)\n",
    "pack/__init__": "",
    "pack/deep": "def handler(event, context):\n    return 'deep'\n",
}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of handler modules, first on `sys.path` and forgotten afterwards."""
    for name, source in MODULES.items():
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "handler",
    [
        *("nodot", "", ".handler", "..handler", "good.", "sys.handler", "_io.x.handler"),
        *("no_such_module_anywhere.handler", "no/such/module.handler", "needs.handler"),
        *("wants.handler", "typo.handler", "nested_typo.handler", "good.missing", "raises.handler"),
        *("silent.handler", "lazy.handler", "pack.none.handler", "pack/deep.missing", "good.a.b"),
    ],
)
@pytest.mark.usefixtures("code")
def test_a_handler_that_cannot_be_loaded_is_refused_as_by_aws(handler: str) -> None:
    expected = init_error_by_aws(handler)
    with pytest.raises(InitError) as refusal:
        load_handler(handler)

    error = refusal.value
    ours = error_payload(error.message, error.error_type, error.stack_trace, "")
    assert json.loads(ours) == expected


@pytest.mark.parametrize("handler", ["good.handler", "pack.deep.handler", "pack/deep.handler"])
@pytest.mark.usefixtures("code")
def test_a_handler_is_found_as_by_aws(handler: str) -> None:
    assert load_handler(handler) is aws._get_handler(handler)


@pytest.mark.usefixtures("code")
def test_loading_does_not_ask_whether_the_handler_can_be_called() -> None:
    outcome = call(load_handler("good.name"))

    assert outcome.error_type == "TypeError"
    assert "'str' object is not callable" in json.loads(outcome.payload)["errorMessage"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("import sys; sys.exit(3)", "Runtime exited with error: exit status 3"),
        ("raise SystemExit", "Runtime exited without providing a reason"),
        ("raise KeyboardInterrupt", "Runtime exited with error: signal: interrupt"),
        ("raise GeneratorExit", "Runtime exited with error: exit status 1"),
    ],
)
@pytest.mark.usefixtures("capsys")
def test_a_module_that_exits_fails_the_init(code: Path, statement: str, message: str) -> None:
    (code / "leaves.py").write_text(statement)
    with pytest.raises(InitError) as refusal:
        load_handler("leaves.handler")

    assert refusal.value.error_type == "Runtime.ExitError"
    assert refusal.value.message == message


def call(handler: Any, payload: bytes = b"{}", settings: FunctionSettings = SETTINGS) -> Any:
    return invoke(handler, payload, LambdaContext(settings, "id", 0, "arn"), settings)


def divides(event: Any, context: Any) -> Any:
    return 1 / len(event)


def recurses(event: Any, context: Any) -> Any:
    return recurses(event, context)


def chains(event: Any, context: Any) -> Any:
    try:
        return divides(event, context)
    except ZeroDivisionError as error:
        raise LookupError("line one\n  line two caf\xe9") from error


def says_nothing(event: Any, context: Any) -> Any:
    raise ValueError


def evaluates(event: Any, context: Any) -> Any:
    return eval("1 +\n")


@pytest.mark.parametrize(
    "handler", [divides, chains, says_nothing, evaluates, lambda event, context: context.nothing]
)
def test_an_exception_is_reported_and_logged_as_by_aws(handler: Any) -> None:
    theirs, ours = posted(handler), call(handler)

    assert ours.payload == theirs.payload
    assert ours.log == "\n".join(theirs.lines)
    assert ours.function_error == "Unhandled"
    assert ours.error_type == json.loads(theirs.payload)["errorType"]


def test_endless_recursion_is_reported_as_by_aws() -> None:
    theirs, ours = posted(recurses).payload, call(recurses).payload

    # How deep it went depends on the caller.
    count = re.compile(rb"repeated \d+ more times")
    assert count.sub(b"", ours) == count.sub(b"", theirs)


@pytest.mark.parametrize(
    ("handler", "payload"),
    [(lambda event, context: {1}, b"{}"), (divides, b"\xff"), (divides, b'{"a": ')],
    ids=["result", "bytes", "json"],
)
def test_a_fault_is_reported_and_logged_as_by_aws(handler: Any, payload: bytes) -> None:
    theirs, ours = posted(handler, payload), call(handler, payload)

    assert ours.payload == theirs.payload
    assert ours.log == "\n".join(theirs.lines)
    assert ours.error_type.startswith("Runtime.")


def test_a_handler_that_cannot_be_called_shows_the_runtimes_own_frame() -> None:
    theirs, ours = json.loads(posted("text").payload), json.loads(call("text").payload)

    assert len(ours.pop("stackTrace")) == len(theirs.pop("stackTrace")) == 1
    assert ours == theirs


def test_a_fault_keeps_its_own_trace() -> None:
    fault = InitError("Runtime.UserCodeSyntaxError", "bad", ["  here"])

    assert json.loads(failed(fault, "", SETTINGS).payload)["stackTrace"] == ["  here"]


def test_an_error_goes_out_by_the_runtimes_escaping() -> None:
    error = ValueError("caf\xe9")

    unescaped = FunctionSettings(ensure_ascii=False)
    assert b"caf\\u00e9" in failed(error, "id", SETTINGS).payload
    assert "caf\xe9".encode() in failed(error, "id", unescaped).payload


@pytest.mark.parametrize("message", ["", "text", "two\n  lines "])
@pytest.mark.parametrize("error_type", ["", "Kind"])
@pytest.mark.parametrize("trace", [[], ["  File\n    code\n", "", "\n", "\tx\n"]])
def test_error_texts_are_those_of_aws(message: str, error_type: str, trace: list[str]) -> None:
    result, sink = aws.make_error(message, error_type, trace, "id"), Posted()
    aws.log_error(result, sink)

    assert error_payload(message, error_type, trace, "id") == aws.to_json(result).encode()
    for separator in ("\n", "\r"):
        lines = error_log_lines(message, error_type, trace, separator=separator)
        assert lines == separator.join(sink.lines)


def without_time(line: str) -> str:
    return re.sub(r'"timestamp": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"', "", line)


def test_an_error_is_a_record_where_the_log_is_json() -> None:
    theirs = posted(chains, client=json_client())
    ours = call(chains, settings=FunctionSettings(json_log=True))

    assert without_time(ours.log) == without_time(theirs.lines[0])
    assert json.loads(ours.log)["level"] == "ERROR"


def test_a_result_is_the_payload_of_an_outcome_without_error() -> None:
    outcome = call(lambda event, context: [event, context.aws_request_id], b'{"a": 1}')

    assert outcome == (b'[{"a": 1}, "id"]', "", "", "")


def leaving(error: BaseException) -> Callable[[Any, Any], Any]:
    def handler(event: Any, context: Any) -> Any:
        raise error

    return handler


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (SystemExit(), "Runtime exited without providing a reason", ""),
        (SystemExit(0), "Runtime exited without providing a reason", ""),
        (SystemExit(7), "Runtime exited with error: exit status 7", ""),
        (SystemExit(-1), "Runtime exited with error: exit status 255", ""),
        (SystemExit(256), "Runtime exited without providing a reason", ""),
        (SystemExit(True), "Runtime exited with error: exit status 1", ""),
        (SystemExit(""), "Runtime exited with error: exit status 1", "\n"),
        (SystemExit("bye"), "Runtime exited with error: exit status 1", "bye\n"),
        (SystemExit(Unspeakable()), "Runtime exited with error: exit status 1", ""),
        (SystemExit(1, 2), "Runtime exited with error: exit status 1", "(1, 2)\n"),
        (
            KeyboardInterrupt(),
            "Runtime exited with error: signal: interrupt",
            "KeyboardInterrupt\n",
        ),
        (GeneratorExit("x"), "Runtime exited with error: exit status 1", "GeneratorExit: x\n"),
        (Unspeakable(), "Runtime exited with error: exit status 1", "RuntimeError: no words\n"),
    ],
    ids=lambda value: value.__class__.__name__,
)
def test_a_handler_that_exits_is_answered_for(
    error: BaseException, reason: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = call(leaving(error))
    printed = capsys.readouterr().err

    message = f"RequestId: id Error: {reason}"
    expected = f'{{"errorType":"Runtime.ExitError","errorMessage":"{message}"}}'
    assert outcome == (expected.encode(), "Unhandled", "Runtime.ExitError", "")
    assert printed.endswith(words)
    assert bool(printed) == bool(words)


@pytest.mark.parametrize("code", ["sys.exit()", "sys.exit(-1)", "sys.exit(256)", "sys.exit('x')"])
@pytest.mark.slow
def test_exit_statuses_are_those_of_a_real_process(
    code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True, check=False
    )
    outcome = call(lambda event, context: eval(code))

    status = process.returncode
    assert (f"exit status {status}" in outcome.payload.decode()) == (status != 0)
    assert capsys.readouterr().err == process.stderr


def test_a_lone_surrogate_ends_a_runtime_that_does_not_escape(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = call(lambda event, context: "\ud800", settings=FunctionSettings(ensure_ascii=False))

    with pytest.raises(UnicodeEncodeError):
        Posted().post_invocation_result("id", AWS[False].marshal_response("\ud800")[0])
    assert b"exit status 1" in outcome.payload
    assert "surrogates not allowed" in capsys.readouterr().err


async def waits(event: Any, context: Any) -> None:
    """A handler of the wrong kind."""


@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: [1, {"a": (it,)}]])
def test_a_coroutine_is_refused_and_closed(wrap: Callable[[Any], Any]) -> None:
    coroutine = waits(None, None)
    outcome = call(lambda event, context: wrap(coroutine))

    assert outcome.error_type == "Runtime.MarshalError"
    assert b"Object of type coroutine is not JSON serializable" in outcome.payload
    assert coroutine.cr_frame is None


@pytest.mark.parametrize("kind", [bytes, str])
def test_a_response_has_a_size_limit(kind: type) -> None:
    largest = b"x" * (6 * 1024 * 1024 + 100 - (0 if kind is bytes else 2))
    fits = call(lambda event, context: largest if kind is bytes else largest.decode())
    larger = call(
        lambda event, context: largest + b"x" if kind is bytes else largest.decode() + "x"
    )

    assert (len(fits.payload), fits.function_error) == (6_291_556, "")
    assert larger.payload == function_errors.TOO_LARGE
    assert larger[1:3] == ("Unhandled", "Function.ResponseSizeTooLarge")


def test_an_error_that_is_too_large_is_the_platforms() -> None:
    def fails(event: Any, context: Any) -> None:
        raise ValueError("x" * 6_291_556)

    outcome = call(fails)

    assert (outcome.payload, outcome.error_type) == (function_errors.TOO_LARGE, "ValueError")
    assert len(outcome.log) > 6_291_556


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
def test_the_file_works_alone_under_another_interpreter(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    process = subprocess.run(
        [python, "-W", "error", HERE / "try_bootstrap.py", Path(bootstrap.__file__).parent],
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.stdout.split() == ["works", version.partition(".")[2]], process.stderr

"""Options that several commands share: what they refuse, and with which words."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import refusal, run


def serve(*options: str) -> str:
    return refusal(run("serve", "app.handler", *options))


@pytest.mark.parametrize(
    ("handler", "line"),
    [
        ("handler", "'handler' is not module.function, such as app.handler"),
        ("", "'' is not module.function, such as app.handler"),
        (".handler", "'.handler' is not module.function, such as app.handler"),
        ("app.", "'app.' is not module.function, such as app.handler"),
        ("app:handler", "'app:handler' is not module.function, such as app.handler"),
        ("app.py", "'app.py' is not module.function, such as app.handler"),
        ("src/shop.py", "'src/shop.py' is not module.function, such as src/shop.handler"),
    ],
)
def test_handler_has_awss_notation(handler: str, line: str) -> None:
    said = refusal(run("serve", handler))

    assert said == f"invalid value for 'HANDLER': {line} (see gateway serve --help)"


@pytest.mark.parametrize("handler", ["bootstrap", "main", "My::Mod::Fn", "app.handler", "a/b"])
def test_executable_may_have_any_handler(handler: str, tmp_path: Path) -> None:
    result = run("invoke", handler, "--runtime", "provided.al2023", "--code", str(tmp_path))

    assert result.exit_code == 2
    payload = json.loads(result.stdout)  # there is no bootstrap to read it
    assert payload["errorType"] == "Runtime.InvalidEntrypoint"
    assert "No such file" in payload["errorMessage"]


@pytest.mark.parametrize("handler", ["", "two words", "x" * 129])
def test_executable_has_a_handler_all_the_same(handler: str) -> None:
    said = refusal(run("serve", handler, "--runtime", "provided.al2023"))

    assert said.startswith(f"invalid value for 'HANDLER': {handler!r} is not 1 to 128 characters")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "900.5", "inf", "soon"])
@pytest.mark.parametrize("command", [["serve", "a.b"], ["invoke", "a.b"], ["health"]])
def test_seconds_are_a_number_in_range(command: list[str], seconds: str) -> None:
    said = refusal(run(*command, "--timeout", seconds))

    assert said.startswith("invalid value for '--timeout': ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--memory-size", "64"], "64 is not in the range 128<=x<=32768"),
        (["--env", "NAME"], "environment variable 'NAME' needs the form KEY=VALUE"),
        (["--env", "AWS_REGION=x"], "AWS_REGION is reserved by Lambda; --region"),
        (["--env", "1A=x"], "environment variable '1A': Lambda wants a letter first"),
        (["--env", f"A1={'x' * 4096}"], "take 4098 bytes; Lambda allows 4096"),
        (["--env-file", "no-such-file"], "--env-file no-such-file cannot be read"),
        (["--application-log-level", "INFO"], "not supported when the log format is Text; leave"),
        (["--system-log-level", "WARN"], "not supported when the log format is Text; leave"),
        (["--log-group", "aws/shop"], "log group 'aws/shop': names that begin with aws/"),
        (["--function-log-format", "json"], "'json' is not one of 'Text', 'JSON'"),
        (["--attribute", "routing"], "attribute 'routing' needs a value: KEY=VALUE"),
        (["--attribute", "routing=1"], "unknown attribute 'routing'; known are: client_keep"),
        (
            ["--attribute", "routing.http.xff_client_port.enabled=yes"],
            "attribute routing.http.xff_client_port.enabled is 'yes' but must be true or false",
        ),
        (
            ["--attribute", "routing.http.xff_header_processing.mode=drop"],
            "is 'drop' but must be append, preserve or remove",
        ),
    ],
)
def test_bad_option_is_refused_before_anything_starts(options: list[str], line: str) -> None:
    assert line in serve(*options)


def test_multi_value_headers_is_short_for_the_attribute() -> None:
    long = run(
        "event", "GET", "http://x/?a=1", "--attribute", "lambda.multi_value_headers.enabled=true"
    )
    short = run("event", "GET", "http://x/?a=1", "--multi-value-headers")

    assert "multiValueHeaders" in short.output
    assert without_trace(short.output) == without_trace(long.output)


def without_trace(text: str) -> list[str]:
    return [line for line in text.splitlines() if "Root=1-" not in line]

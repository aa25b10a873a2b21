"""The real command, and the Python that the user means."""

import json
import sys
import venv
from pathlib import Path

import pytest

from tests.cli.commands import process_refusal, run_process
from tests.e2e.serving import Process, gateway_command

pytestmark = pytest.mark.slow

VERSION = ".".join(map(str, sys.version_info[:3]))
APP = """
import json, sys, click
def handler(event, context):
    return {"statusCode": 200, "body": sys.prefix}
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    directory = tmp_path / "code"
    directory.mkdir()
    (directory / "app.py").write_text(APP)
    return directory


def command(code: Path, *options: str) -> list[str]:
    return gateway_command("serve", "app.handler", "--code", str(code), "--port", "0", *options)


def test_environment_in_the_code_is_used_and_said(code: Path) -> None:
    venv.create(code / ".venv", with_pip=False, system_site_packages=True)
    (code / "click.py").touch()
    with Process(command(code)) as process:
        process.output.wait_for(
            rf"^python {VERSION}: {code}/\.venv/bin/python \(virtual environment {code}/\.venv\)$"
        )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_package_of_this_machine_is_said_once_on_the_console(code: Path, workers: str) -> None:
    with Process(command(code, "--workers", workers)) as process:
        process.output.wait_for("listening on")
        process.output.wait_for("on AWS these must be")
        assert process.stop() == 0
        lines = process.output.wait_for_end()

    assert lines.count("on AWS these must be in the package or a layer: click") == 1
    assert not [line for line in lines if line.startswith("python ")]


@pytest.mark.parametrize("command", ["serve", "invoke"])
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--python", "/nowhere"], "--python /nowhere: there is no such interpreter"),
        (["--in-process", "--strict-packages"], "--strict-packages is for execution environments"),
        (["--in-process", "--runtime", "python3.9"], "--runtime python3.9 is for execution envi"),
    ],
)
def test_what_cannot_be_had_is_refused_in_a_line(
    code: Path, command: str, options: list[str], line: str
) -> None:
    said = process_refusal(command, "app.handler", "--code", str(code), *options)

    assert said.startswith(line)


def test_package_is_refused_by_the_command(code: Path) -> None:
    arguments = ("invoke", "app.handler", "--code", str(code), "--strict-packages")
    status, [line], _ = run_process(*arguments)

    said = json.loads(line)["errorMessage"]
    assert status == 2
    assert "No module named 'click' in the code or a layer, and AWS's runtime has none: " in said
    assert said.endswith("add it to the package, or leave out --strict-packages")


def test_in_process_says_that_the_environment_is_not_used(code: Path, tmp_path: Path) -> None:
    variables = {"VIRTUAL_ENV": str(tmp_path / "active")}
    (tmp_path / "active").mkdir()
    (code / "click.py").touch()
    with Process(command(code, "--in-process"), env=variables) as process:
        process.output.wait_for(
            f"^in-process: the handler runs under {sys.executable}, not in {tmp_path}/active; "
        )
        process.output.wait_for("^in-process: the gateway has loaded click, so the function's own")

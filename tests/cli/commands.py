"""The command line, run as a process or in this one."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

import click
from click.testing import CliRunner, Result

from gateway.cli import group
from tests.e2e.serving import ROOT, Process, gateway_command

HANDLERS = """
import logging, sys, threading
print("printed at import")

def handler(event, context):
    print("printed")
    logging.getLogger().warning("logged")
    return {"statusCode": 200, "body": event.get("path", "none")}

def failing(event, context):
    raise ValueError("no such customer")

def stuck(event, context):
    threading.Event().wait()

number = 3
"""


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(group, arguments, input=stdin, prog_name="gateway")


def refusal(result: Result) -> str:
    """Return the one line with which a command refused."""
    assert result.exit_code == 2, result.output
    [line] = result.output.splitlines()
    assert line.startswith("gateway: ")
    return line.removeprefix("gateway: ")


def run_process(
    *arguments: str,
    cwd: Path = ROOT,
    stdin: IO[bytes] | None = None,
    before_exec: Callable[[], None] | None = None,
) -> tuple[int, list[str], list[str]]:
    """Run a command in a process of its own; returns exit status and the lines of its streams."""
    command = gateway_command(*arguments)
    with Process(command, cwd=cwd, stdin=stdin, before_exec=before_exec) as process:
        status = process.wait()
        return status, process.output.wait_for_end(), process.errors.wait_for_end()


def process_refusal(*arguments: str, before_exec: Callable[[], None] | None = None) -> str:
    """Return the one line with which a command refused in a process of its own."""
    status, output, errors = run_process(*arguments, before_exec=before_exec)
    assert (status, output) == (2, []), errors
    [line] = errors
    assert line.startswith("gateway: ")
    return line.removeprefix("gateway: ")


def option_names(command: click.Command) -> list[str]:
    """Return every option of a command as it is typed."""
    options = (item for item in command.params if isinstance(item, click.Option))
    return [name for option in options for name in option.opts]

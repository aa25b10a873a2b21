"""`gateway invoke`: run a handler once."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from types import FrameType

import click

from gateway.cli.options import function_options
from gateway.compose import functions
from gateway.config.function import Execution, Function
from gateway.core.errors import InvalidSetting
from gateway.core.function_errors import lasting_failure
from gateway.core.invocation import InvocationResult, LogType
from gateway.core.notices import InitReported, LogEntry, Notice, OperatorWarning
from gateway.telemetry.visible import visible, visible_json


@click.command(short_help="Run a handler once with an event.")
@function_options
@click.option("--event", default="", metavar="FILE|-", help="The event's JSON.  [default: {}]")
@click.option(
    "--log-type",
    type=click.Choice([str(kind) for kind in LogType]),
    default=str(LogType.NONE),
    show_default=True,
    help="Tail: the last 4 KB of the log, START to REPORT, in place of what the function wrote.",
)
@click.option(
    "--in-process",
    "is_in_process",
    is_flag=True,
    help="Run the handler in this process: easy to debug, not isolated.",
)
def invoke(function: Function, event: str, log_type: str, *, is_in_process: bool) -> None:
    """Run HANDLER (module.function) once with an event.

    The reply, or the function error's payload, goes to stdout, what the function prints and logs
    to stderr.  Exit status 1 on a function error, a failed init included; 2 when the handler cannot
    be found.  An event to try: gateway event GET http://shop.example.org/ | gateway invoke
    app.handler --event -
    """
    wanted = LogType(log_type)
    if is_in_process and wanted is LogType.TAIL:
        raise InvalidSetting("--log-type Tail is for execution environments, not for --in-process")
    execution = Execution(concurrency=1, is_in_process=is_in_process)
    function = replace(function, execution=execution)
    given = payload(event)
    ending = nullcontext() if is_in_process else ending_in_order()
    # stdout is for the reply alone; modules print at import too
    with ending, redirect_stdout(sys.stderr):
        result = asyncio.run(functions.invoke_once(function, given, InitOutput(), wanted))
    click.echo(visible(written(result, wanted)), nl=False, err=True)
    click.echo(reply(result.payload, is_terminal=sys.stdout.isatty()))
    if result.function_error:
        sys.exit(2 if lasting_failure(result.payload) else 1)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Have SIGTERM end this process once everything that was started is gone, as Ctrl-C does."""
    received: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if received:
            os.kill(os.getpid(), received[0])


def written(result: InvocationResult, log_type: LogType) -> str:
    """Return what of the log is shown."""
    tail = result.log_tail
    return tail.decode(errors="replace") if log_type is LogType.TAIL else result.log


def reply(payload: bytes, *, is_terminal: bool) -> bytes | str:
    """Return the reply: for a program as it is, for a terminal with its controls shown."""
    return visible_json(payload.decode(errors="replace")) if is_terminal else payload


class InitOutput:
    """Shows on stderr what a function wrote in its init phases, a failure's record once, and
    warnings; a Sink."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def emit(self, notice: Notice, /) -> None:
        """Show the lines of an init phase, or a warning."""
        if isinstance(notice, OperatorWarning):
            click.echo(visible(notice.text), err=True)
        if isinstance(notice, InitReported):
            for entry in notice.entries:
                self._show(entry)

    def _show(self, entry: LogEntry) -> None:
        """Show a record; the init phase is tried twice, and fails with the same words."""
        if entry.level != "ERROR" or entry.text not in self._shown:
            click.echo(visible(entry.text), err=True)
        self._shown.add(entry.text)


def payload(event: str) -> bytes:
    """Return the event's bytes; raises InvalidSetting for an unreadable file and for no JSON."""
    if not event:
        return b"{}"
    try:
        with click.open_file(event, "rb") as file:
            content = bytes(file.read())
        json.loads(content)
    except OSError as error:
        raise InvalidSetting(f"--event {event} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"--event {event} is not JSON: {error}") from error
    return content

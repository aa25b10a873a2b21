"""`gateway invoke`: run a handler once."""

import asyncio
import sys

import click

from gateway import compose
from gateway.cli.options import function_options
from gateway.config.settings import Function, Serving
from gateway.core.errors import InvalidSetting


@click.command()
@function_options
@click.option("--event", default="", metavar="FILE|-", help="The event's JSON.  [default: {}]")
def invoke(function: Function, event: str) -> None:
    """Run HANDLER (module.function) once with an event.

    The reply goes to stdout, what the function prints and logs to stderr; exit status 1 on a
    function error.
    """
    result = asyncio.run(compose.invoke_once(Serving(function, concurrency=1), payload(event)))
    click.echo(result.log, nl=False, err=True)
    sys.stdout.buffer.write(result.payload + b"\n")
    sys.stdout.flush()
    if result.function_error:
        sys.exit(1)


def payload(event: str) -> bytes:
    """Return the event's bytes; raises InvalidSetting when they cannot be read."""
    if not event:
        return b"{}"
    try:
        with click.open_file(event, "rb") as file:
            return bytes(file.read())
    except OSError as error:
        raise InvalidSetting(f"--event {event} cannot be read: {error}") from error

"""`gateway invoke`: run a handler once."""

import asyncio
import json
import sys
from contextlib import redirect_stdout

import click

from gateway import compose
from gateway.cli.options import function_options
from gateway.config.settings import Function, Serving
from gateway.core.errors import InvalidSetting


@click.command(short_help="Run a handler once with an event.")
@function_options
@click.option("--event", default="", metavar="FILE|-", help="The event's JSON.  [default: {}]")
def invoke(function: Function, event: str) -> None:
    """Run HANDLER (module.function) once with an event.

    The reply goes to stdout, what the function prints and logs to stderr; exit status 1 on a
    function error.  An event to try: gateway event GET http://shop.example.org/ | gateway invoke
    app.handler --event -
    """
    serving = Serving(function, concurrency=1)
    given = payload(event)
    with redirect_stdout(sys.stderr):  # stdout is for the reply alone; modules print at import too
        result = asyncio.run(compose.invoke_once(serving, given))
    click.echo(result.log, nl=False, err=True)
    click.echo(result.payload)
    if result.function_error:
        sys.exit(1)


def payload(event: str) -> bytes:
    """Return the event's bytes; raises InvalidSetting when they cannot be read or are no JSON."""
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

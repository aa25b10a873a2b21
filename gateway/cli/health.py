"""`gateway health`: can the listener be reached?"""

import socket
import sys

import click

from gateway.cli.options import Seconds


@click.command(short_help="Say whether a gateway accepts connections.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address it listens on.",
)
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Port it listens on.",
)
@click.option(
    "--timeout",
    default=2.0,
    show_default=True,
    type=Seconds(60),
    metavar="SECONDS",
    help="How long to wait for it.",
)
def health(host: str, port: int, timeout: float) -> None:
    """Connect to a running gateway over TCP; exit status 0 if it accepts, else 1.

    It is a connect and not a request: a listener serves nothing of its own, so every request would
    invoke the function.
    """
    try:
        socket.create_connection((host, port), timeout).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
        said = getattr(error, "strerror", None) or error
        click.echo(f"gateway: {host}:{port} does not accept connections: {said}", err=True)
        sys.exit(1)
    click.echo(f"{host}:{port} accepts connections")

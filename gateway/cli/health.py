"""`gateway health`: can the listener be reached?"""

import os
import socket
import sys
from pathlib import Path

import click

from gateway.cli.options import Seconds
from gateway.server import presence
from gateway.server.presence import Presence

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080


@click.command(short_help="Say whether a gateway accepts connections.")
@click.option(
    "--host",
    metavar="ADDRESS",
    help=f"Address that it listens on.  [default with --port: {DEFAULT_HOST}]",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help=f"Port that it listens on.  [default with --host: {DEFAULT_PORT}]",
)
@click.option("--uds", default="", metavar="PATH", help="Unix socket that it listens on.")
@click.option(
    "--timeout",
    default=2.0,
    show_default=True,
    type=Seconds(60),
    metavar="SECONDS",
    help="How long to wait for it.",
)
def health(host: str | None, port: int | None, uds: str, timeout: float) -> None:
    """Connect to the gateways that this user runs; exit status 0 if all accept, else 1.

    Without options they are found wherever they listen; where none is found, port 8080 is tried.
    It is a connect and not a request: a listener serves nothing of its own, so every request would
    invoke the function.
    """
    if uds:
        found = [Presence(f"unix:{uds}", socket.AF_UNIX, str(Path(uds).absolute()))]
    elif host or port:
        found = []
    else:
        found = presence.listeners(presence.directory(os.environ))
    attempts = [accepts(each, timeout) for each in found]
    if not found:
        attempts = [accepts_at(host or DEFAULT_HOST, port or DEFAULT_PORT, timeout)]
    sys.exit(0 if all(attempts) else 1)


def accepts(listener: Presence, timeout: float) -> bool:
    """Say, in a line too, whether a gateway accepts connections."""
    try:
        listener.connect(timeout)
    except OSError as error:
        return refused(listener.url, error)
    click.echo(f"{listener.url} accepts connections")
    return True


def accepts_at(host: str, port: int, timeout: float) -> bool:
    """Say, in a line too, whether something accepts connections at a host of any kind."""
    where = f"{host}:{port}"
    try:
        socket.create_connection((host, port), timeout).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: not a host name at all
        return refused(where, error)
    click.echo(f"{where} accepts connections")
    return True


def refused(where: str, error: OSError | UnicodeError) -> bool:
    """Say why there is no connection; returns False."""
    said = getattr(error, "strerror", None) or error
    click.echo(f"gateway: {where} does not accept connections: {said}", err=True)
    return False

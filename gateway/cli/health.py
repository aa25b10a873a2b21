"""`gateway health`: can the listener be reached?"""

import socket

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535))
@click.option("--timeout", default=2.0, show_default=True, type=click.FloatRange(0, min_open=True))
def health(host: str, port: int, timeout: float) -> None:
    """Connect to a running gateway over TCP; exit status 0 if it accepts, else 1.

    It is a connect and not a request: a listener serves nothing of its own, so every request would
    invoke the function.
    """
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        raise click.ClickException(f"{host}:{port} does not accept connections: {error}") from error
    click.echo(f"{host}:{port} accepts connections")

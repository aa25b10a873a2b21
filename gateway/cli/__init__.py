"""The `gateway` command: one file a subcommand."""

import sys

import click

from gateway import __version__
from gateway.cli.event import event
from gateway.cli.health import health
from gateway.cli.invoke import invoke
from gateway.cli.serve import serve
from gateway.core.errors import GatewayError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="gateway")
def group() -> None:
    """Put a Lambda handler behind an Application Load Balancer listener."""


for command in (serve, event, invoke, health):
    group.add_command(command)


def main() -> None:
    """Run the command line; what the operator got wrong is one line on stderr and exit status 2."""
    try:
        group(prog_name="gateway")
    except GatewayError as error:
        click.echo(f"gateway: {error}", err=True)
        sys.exit(2)

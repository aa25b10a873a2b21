"""The `gateway` command: one file a subcommand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from gateway import __version__
from gateway.cli.event import event
from gateway.cli.health import health
from gateway.cli.invoke import invoke
from gateway.cli.serve import serve
from gateway.core.errors import GatewayError
from gateway.telemetry.visible import visible


class Refusal(click.ClickException):
    """What the operator got wrong: one line on stderr, exit status 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the line."""
        click.echo(f"gateway: {visible(self.message)}", file=file, err=True)


@contextmanager
def refusals(context: click.Context | None = None) -> Iterator[None]:
    """Turn click's and our own errors into one line each; click's take three."""
    try:
        yield
    except click.UsageError as error:
        said = error.format_message().rstrip(".")
        path = error.ctx.command_path if error.ctx else path_of(context)
        raise Refusal(f"{said[:1].lower()}{said[1:]} (see {path} --help)") from error
    except GatewayError as error:
        raise Refusal(str(error)) from error


def path_of(context: click.Context | None) -> str:
    """Return the command that was being parsed: click's parser does not always say."""
    command = context.invoked_subcommand if context else None
    return f"gateway {command}" if command else "gateway"


class Group(click.Group):
    """A click group that refuses in one line."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the group's own arguments."""
        with refusals():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Parse the command's arguments and run it."""
        with refusals(ctx):
            return super().invoke(ctx)


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="gateway")
@click.pass_context
def group(context: click.Context) -> None:
    """Put a Lambda handler behind an Application Load Balancer listener."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


for command in (serve, event, invoke, health):
    group.add_command(command)


def main() -> None:
    """Run the command line."""
    group(prog_name="gateway")

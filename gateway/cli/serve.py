"""`gateway serve`: a handler behind a listener."""

import functools
import shlex
from contextlib import ExitStack
from functools import partial
from typing import Any

import click

from gateway.cli.https_options import https_options
from gateway.cli.options import Seconds, listener_options
from gateway.cli.remote_options import served_function_options
from gateway.compose.sinks import sinks
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.config.https import Https
from gateway.config.process import Process
from gateway.core.limits import Limits, with_limit
from gateway.server import privileges, run


@click.command(short_help="Serve a handler as an Application Load Balancer would.")
@served_function_options
@listener_options
@https_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port to listen on; 0 picks a free one.  [default: 8080, with HTTPS 8443]",
)
@click.option(
    "--uds",
    default="",
    metavar="PATH",
    help="Listen on a Unix socket instead of an address.",
)
@click.option(
    "--user",
    default="",
    metavar="NAME[:GROUP]",
    help="The user that root becomes once the socket is open, the certificates are read and "
    "control groups are made.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    metavar="N",
    help="Processes behind the one socket; they share --concurrency, --threads and "
    "--min-environments.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Invocations at once.  [default: 50 environments, 16 in-process]",
)
@click.option(
    "--queue-timeout",
    "queue_timeout_seconds",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 900),
    metavar="SECONDS",
    help="How long an invocation waits when all environments are busy; 0 throttles it at once, as "
    "Lambda does.",
)
@click.option(
    "--min-environments",
    default=0,
    show_default=True,
    type=click.IntRange(0, 1000),
    metavar="N",
    help="Environments that are started ahead and kept.",
)
@click.option(
    "--idle-environment",
    "idle_environment_seconds",
    default=600.0,
    show_default=True,
    type=Seconds(86400),
    metavar="SECONDS",
    help="How long an environment may be idle before it ends.",
)
@click.option(
    "--in-process",
    "is_in_process",
    is_flag=True,
    help="Run the handler in this process: faster, easy to debug, not isolated.",
)
@click.option(
    "--threads",
    type=click.IntRange(0, 1000),
    metavar="N",
    help="With --in-process: worker threads; 0 runs handlers on the event loop, without a "
    "timeout.  [default: the concurrency]",
)
@click.option(
    "--function-logs",
    default="",
    metavar="DIR",
    help="Keep what the function writes, with Lambda's START, END and REPORT lines, in files by "
    "log group and stream.",
)
@click.option(
    "--reload", is_flag=True, help="Take in changed files: new environments beside the old."
)
@click.option(
    "--require-init",
    "requires_init",
    is_flag=True,
    help="End with status 2 when the function's init fails or takes over 10 seconds at the start; "
    "without it that is a warning, and the next invocation runs the init again, as on Lambda.",
)
@click.option(
    "--faithful",
    is_flag=True,
    help="Send a reply's headers in reverse order as ALB does; of two cookies of one name, "
    "clients then keep the first.",
)
@click.option(
    "--server",
    type=click.Choice(["front", "uvicorn"]),
    default="front",
    show_default=True,
    help="The listener's own front, or the portable one under uvicorn: no desync judgement and no "
    "deadlines for slow clients.",
)
@click.option(
    "--limit",
    multiple=True,
    metavar="NAME=VALUE",
    help="A limit of the listener, for example head_seconds=5; repeatable.  See "
    "docs/behaviour/limits.md.",
)
@click.option(
    "--access-log",
    default="",
    metavar="FILE|-",
    help="Append ALB's access log, a line per request, to a file or to stdout (-).",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Print requests as text for people or as JSON lines for programs.",
)
@click.option(
    "--quiet", is_flag=True, help="Print neither requests nor what the handler prints meanwhile."
)
def serve(
    function: Function,
    as_url: str,
    limit: tuple[str, ...],
    https: Https | None,
    port: int | None,
    *,
    quiet: bool,
    reload: bool,
    faithful: bool,
    **settings: Any,
) -> None:
    """Serve HANDLER (module.function) over HTTP as an Application Load Balancer would.

    Ctrl-C or SIGTERM stops accepting, lets running requests finish and closes idle connections
    after 1 second; a second Ctrl-C ends at once. SIGHUP takes in changed code, or replaces the
    workers one by one.

    The handler runs in execution environments: processes of its own that take one invocation at a
    time, with Lambda's limits in force. With --rie or --function there is no HANDLER: the
    function runs elsewhere, and requests become invocations there.
    """
    served = document(
        function,
        https=https,
        port=port if port is not None else 8443 if https else 8080,
        seen_as=as_url,
        is_reloading=reload,
        is_faithful=faithful,
        limits=functools.reduce(with_limit, limit, Limits()),
        is_quiet=quiet,
        **settings,
    )
    make_logs(served.process)
    with ExitStack() as stack:
        sink = sinks(served, stack) if served.process.workers == 1 else None  # else the workers'
        said = announce_briefly if quiet else partial(announce, https=https)
        run.run(served, sink, said)


def make_logs(process: Process) -> None:
    """Make the files that the user that root becomes is to write to; raises InvalidSetting."""
    if process.user:
        logs = privileges.Logs(process.access_log, process.function_logs)
        logs.make_for(privileges.user_named(process.user))


def announce_briefly(urls: list[str], _isolation: str) -> None:
    """Say where the listener is."""
    for url in urls:
        click.echo(f"listening on {url}")


def announce(urls: list[str], isolation: str, https: Https | None = None) -> None:
    """Say where the listener is, how to try it, and how isolated the function is, or where."""
    announce_briefly(urls, isolation)
    url = urls[0]
    reachable = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    options = ""
    if https is not None:
        from gateway.compose.https import curl_option  # noqa: PLC0415 - not for plain HTTP

        options = curl_option(https)
    if url.startswith("unix:"):
        options += f"--unix-socket {shlex.quote(url[5:])} "
        reachable = "https://localhost" if https else "http://localhost"
    click.echo(f"try: curl -i {options}'{reachable}/any/path?x=1&x=2'")
    click.echo(isolation)

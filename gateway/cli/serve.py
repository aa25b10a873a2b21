"""`gateway serve`: a handler behind a listener."""

import functools
import shlex
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from gateway.cli.https_options import https_options
from gateway.cli.options import Seconds, listener_options
from gateway.cli.remote_options import served_function_options
from gateway.config.https import Https
from gateway.config.remote import Remote
from gateway.config.settings import Function, Serving
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.limits import Limits, with_limit
from gateway.server import privileges
from gateway.server import run as server
from gateway.server.parent import is_parent, is_worker
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.console import Console
from gateway.telemetry.fanout import Fanout
from gateway.telemetry.function_logs import FunctionLogs
from gateway.telemetry.recovery import LOST_LINE
from gateway.telemetry.writer import LineWriter

MISSING_LINES = {
    "text": ("(COUNT lines dropped: they came faster than they could be written)", LOST_LINE),
    "json": (
        '{"type":"LinesDropped","count":COUNT}',
        '{"type":"LinesLost","count":COUNT,"reason":"REASON"}',
    ),
}
"""What the console says of lines that were dropped, and of lines that could not be written."""


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
    remote: Remote | None,
    attributes: Attributes,
    as_url: str,
    access_log: str,
    log_format: Literal["text", "json"],
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
    serving = Serving(
        function,
        remote=remote,
        attributes=attributes,
        https=https,
        port=port if port is not None else 8443 if https else 8080,
        listener_url=as_url,
        is_reloading=reload,
        is_faithful=faithful,
        access_log=access_log,
        log_format=log_format,
        limits=functools.reduce(with_limit, limit, Limits()),
        is_quiet=quiet,
        **settings,
    )
    if serving.threads is not None and not serving.is_in_process:
        raise InvalidSetting("--threads is for --in-process; environments take --concurrency")
    if serving.https and serving.server == "uvicorn":
        raise InvalidSetting("--server uvicorn speaks plain HTTP; HTTPS needs the front")
    serving.share(0)  # refuses what cannot be divided
    if serving.user and not is_worker():
        privileges.Logs(access_log, serving.function_logs).make_for(
            privileges.user_named(serving.user)
        )
    with ExitStack() as stack:
        sink = None if is_parent(serving) else sinks(serving, stack)
        said = announce_briefly if quiet else partial(announce, https=https)
        server.run(serving, sink, said)


def sinks(serving: Serving, stack: ExitStack) -> Sink | None:
    """Open what listens to notices, if anything; raises InvalidSetting for a file that cannot be
    written."""
    found: list[Sink] = []
    if not serving.is_quiet:
        dropped, lost = MISSING_LINES[serving.log_format]
        terminal = stack.enter_context(LineWriter(sys.stdout, dropped_line=dropped, lost_line=lost))
        is_colored = sys.stdout.isatty()
        found.append(Console(terminal, is_colored=is_colored, log_format=serving.log_format))
    if serving.access_log:
        target = sys.stdout if serving.access_log == "-" else serving.access_log
        found.append(AccessLog(stack.enter_context(LineWriter(target))))
    if serving.function_logs:
        found.append(
            stack.enter_context(FunctionLogs(Path(serving.function_logs), serving.function.logging))
        )
    return Fanout(found) if found else None


def announce_briefly(url: str, _isolation: str) -> None:
    """Say where the listener is."""
    click.echo(f"listening on {url}")


def announce(url: str, isolation: str, https: Https | None = None) -> None:
    """Say where the listener is, how to try it, and how isolated the function is, or where."""
    announce_briefly(url, isolation)
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

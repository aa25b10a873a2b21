"""Options that name the function to serve: a handler here, emulators, or a function of AWS Lambda.

Exactly one of the three is needed, and what makes no sense with it is refused by its name, never
ignored.
"""

import functools
import os
from dataclasses import dataclass, replace
from typing import Any

import click
from click.core import ParameterSource

from gateway.cli.options import (
    FUNCTION_OPTIONS,
    Command,
    Seconds,
    function_of,
    with_options,
)
from gateway.config.function import DEFAULT_ACCOUNT_ID, Function
from gateway.config.remote import (
    LAMBDA_TIMEOUT_SECONDS,
    RIE_FUNCTION_NAME,
    RIE_TIMEOUT_SECONDS,
    Emulators,
    LambdaFunction,
    Remote,
    account_id,
    emulators,
    endpoint,
    region,
    short_name,
)
from gateway.core.circuit import CircuitSettings
from gateway.core.invoke_api import function_name

NEEDED = "missing argument 'HANDLER'; or give --rie URL or --function NAME"

AT_ONCE = "an emulator takes one invocation at a time"

REFUSAL_REASONS = {
    ("concurrency", "--rie"): f": {AT_ONCE}; give --rie more often",
    ("workers", "--rie"): f": {AT_ONCE}, and workers do not know of each other's",
}
"""Why a pair is refused, where that is not plain."""

LOCAL = (
    *("code", "memory_size", "ephemeral_storage", "layer", "runtime", "python", "runtime_client"),
    *("function_log_format", "application_log_level", "system_log_level", "log_group"),
    *("env", "env_file", "min_environments", "idle_environment_seconds", "is_in_process"),
    *("strict_packages", "threads", "function_logs", "reload"),
)
"""Parameters that only a function has that runs here."""

SERVICE = ("endpoint_url", "profile", "log_type", "retries", "circuit_failures", "circuit_seconds")
"""Parameters that only the Invoke API has."""

ELSEWHERE = ("allow_host", "connect_timeout")
"""Parameters that only a function has that runs elsewhere."""


_, *HANDLER_OPTIONS = FUNCTION_OPTIONS

CHOICE = (
    click.argument("handler", required=False, metavar="HANDLER"),
    click.option(
        "--rie",
        multiple=True,
        metavar="URL",
        help="Serve the function of a Runtime Interface Emulator, such as "
        "http://127.0.0.1:9000; repeatable, one invocation at a time for each.",
    ),
    click.option(
        "--function",
        "remote_function",
        default="",
        metavar="NAME",
        help="Serve a function of AWS Lambda: name or ARN, with or without :QUALIFIER.",
    ),
)

REMOTE_OPTIONS = (
    click.option(
        "--endpoint-url",
        default="",
        metavar="URL",
        help="With --function: an endpoint that speaks Lambda's Invoke API.  "
        "[default: $AWS_ENDPOINT_URL_LAMBDA, $AWS_ENDPOINT_URL or AWS's own]",
    ),
    click.option(
        "--profile",
        default="",
        metavar="NAME",
        help="With --function: profile of the AWS configuration files.  [default: $AWS_PROFILE]",
    ),
    click.option(
        "--log-type",
        type=click.Choice(["None", "Tail"]),
        default="None",
        show_default=True,
        help="With --function: Tail shows the last 4 KB of the log under each request.",
    ),
    click.option(
        "--retries",
        default=0,
        show_default=True,
        type=click.IntRange(0, 10),
        metavar="N",
        help="With --function: how often a throttled invocation, or one for which no connection "
        "could be made, is tried again; what may have started never is.",
    ),
    click.option(
        "--circuit-failures",
        default=5,
        show_default=True,
        type=click.IntRange(1, 1000),
        metavar="N",
        help="With --function: failures of the service in a row after which it is left alone.",
    ),
    click.option(
        "--circuit-seconds",
        default=10.0,
        show_default=True,
        type=Seconds(3600),
        metavar="SECONDS",
        help="With --function: for how long; then one invocation tries.",
    ),
    click.option(
        "--connect-timeout",
        default=5.0,
        show_default=True,
        type=Seconds(60),
        metavar="SECONDS",
        help="With --rie and --function: name, connection and TLS handshake together.",
    ),
    click.option(
        "--allow-host",
        multiple=True,
        metavar="NAME",
        help="With --rie and --function: a host that may be a link-local or metadata address; "
        "repeatable.",
    ),
)


REMOTE_PARAMETERS = ("rie", "remote_function", *SERVICE, *ELSEWHERE)
"""The parameters that only this module reads."""

REFUSED_PARAMETERS = {
    "HANDLER": (*SERVICE, *ELSEWHERE),
    "--rie": (*LOCAL, *SERVICE, "concurrency", "workers"),
    "--function": (*LOCAL, "function_name"),
}
"""What makes no sense with each choice."""


def served_function_options(command: Command) -> Command:
    """Add the options that describe a function here or elsewhere; the command receives a Function
    as `function`, and a Remote, or None, as `remote`."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        context = click.get_current_context()
        choice = check_choice(context, options)
        own = {name: options.pop(name) for name in REMOTE_PARAMETERS}
        function = function_of(options)
        chosen = RemoteChoice(context, own, function)
        if choice == "HANDLER":
            return command(function=function, remote=None, **options)
        function, remote = chosen.emulated() if choice == "--rie" else chosen.invoked()
        return command(function=function, remote=remote, **options)

    return with_options(wrapped, (*CHOICE, *HANDLER_OPTIONS, *REMOTE_OPTIONS))


def check_choice(context: click.Context, options: dict[str, Any]) -> str:
    """Return what was chosen to be served; raises UsageError unless it is one thing, and nothing
    that makes no sense with it was given."""
    is_chosen = {
        "HANDLER": options["handler"] is not None,
        "--rie": bool(options["rie"]),
        "--function": bool(options["remote_function"]),
    }
    choices = [shown for shown, chosen in is_chosen.items() if chosen]
    if not choices:
        raise click.UsageError(NEEDED, context)
    if len(choices) > 1:
        raise click.UsageError(f"give only one of {' and '.join(choices)}", context)
    [choice] = choices
    for param in context.command.params:
        if param.name in REFUSED_PARAMETERS[choice] and is_given(context, param.name):
            reason = REFUSAL_REASONS.get((param.name, choice), "")
            raise click.UsageError(f"{param.opts[0]} does not go with {choice}{reason}", context)
    return choice


def is_given(context: click.Context, name: str) -> bool:
    """Say whether a parameter was given on the command line, be it its default."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


@dataclass(frozen=True, slots=True)
class RemoteChoice:
    """The options about a function elsewhere."""

    context: click.Context
    own: dict[str, Any]
    """The parameters that only this module reads."""
    function: Function
    """What a local handler's options say."""

    def emulated(self) -> tuple[Function, Remote]:
        """Return a pool of emulators, and how events name its function; raises InvalidSetting."""
        remote = self._remote(emulators(self.own["rie"]), RIE_TIMEOUT_SECONDS)
        name = self.function.name or RIE_FUNCTION_NAME
        return replace(self.function, handler="", name=name), remote

    def invoked(self) -> tuple[Function, Remote]:
        """Return a function of AWS Lambda, and how events name it; raises InvalidSetting."""
        own, name = self.own, function_name(self.own["remote_function"])
        place = LambdaFunction(
            name,
            region(name, self._given("region"), os.environ, self._region_of_profile),
            endpoint(own["endpoint_url"], os.environ),
            own["profile"],
            wants_log=own["log_type"] == "Tail",
            retries=own["retries"],
            circuit=CircuitSettings(own["circuit_failures"], own["circuit_seconds"]),
        )
        function = replace(
            self.function,
            handler="",
            name=short_name(name),
            region=place.region,
            account_id=account_id(name, self._given("account_id"), DEFAULT_ACCOUNT_ID),
        )
        return function, self._remote(place, LAMBDA_TIMEOUT_SECONDS)

    def _remote(self, place: Emulators | LambdaFunction, timeout_seconds: float) -> Remote:
        if is_given(self.context, "timeout"):
            timeout_seconds = self.function.timeout_seconds
        allowed = frozenset(host.lower() for host in self.own["allow_host"])
        return Remote(place, timeout_seconds, self.own["connect_timeout"], allowed)

    def _given(self, name: str) -> str:
        """Return what the command line says, not what stands for it where it says nothing."""
        value = self.function.region if name == "region" else self.function.account_id
        return value if is_given(self.context, name) else ""

    def _region_of_profile(self) -> str:
        """Return the region that the AWS configuration files name."""
        # A gateway with a local handler imports nothing of the remote invokers.
        from gateway.invokers.credentials import botocore_region  # noqa: PLC0415

        return botocore_region(self.own["profile"] or None)

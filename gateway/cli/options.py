"""Options that several commands share, and how they become settings."""

import functools
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.config.environment import environment
from gateway.config.function import DEFAULT_ACCOUNT_ID, DEFAULT_REGION, Function
from gateway.core.attributes import Attributes, with_attribute
from gateway.core.logging_config import (
    APPLICATION_LOG_LEVELS,
    LOG_FORMATS,
    SYSTEM_LOG_LEVELS,
    logging_config,
)

Command = Callable[..., Any]

HANDLER = re.compile(r"\S{1,128}")
MULTI_VALUE = "lambda.multi_value_headers.enabled=true"


class Seconds(click.FloatRange):
    """A duration above 0 and up to a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__(0, limit, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; not-a-number lies outside every range, and no comparison says so."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return seconds


def handler_name(value: str, runtime: str) -> str:
    """Return a handler in AWS's notation, where the module part may have dots and slashes.

    An executable of an OS-only runtime may read it as it likes; AWS allows whatever has no blank.
    """
    if runtime.startswith("provided"):
        if not HANDLER.fullmatch(value):
            raise bad_handler(f"{value!r} is not 1 to 128 characters without a blank")
        return value
    module, _, function = value.rpartition(".")
    if not module.strip("./") or not function or function == "py":
        example = f"{module or 'app'}.handler" if function == "py" else "app.handler"
        raise bad_handler(f"{value!r} is not module.function, such as {example}")
    return value


def bad_handler(text: str) -> click.BadParameter:
    """Return the refusal of a handler."""
    return click.BadParameter(text, click.get_current_context(), param_hint="'HANDLER'")


FUNCTION_OPTIONS = (
    click.argument("handler"),
    click.option(
        "--code",
        default=".",
        type=click.Path(path_type=Path, readable=False),  # HandlerCode says why it cannot be read
        metavar="DIR",
        help="Directory of the code.  [default: the current one]",
    ),
    click.option(
        "--timeout",
        default=3.0,
        show_default=True,
        type=Seconds(900),
        metavar="SECONDS",
        help="The function's timeout in seconds.",
    ),
    click.option(
        "--memory-size",
        default=128,
        show_default=True,
        type=click.IntRange(128, 32768),
        metavar="MB",
        help="Memory of an execution environment; nothing limits it in-process.",
    ),
    click.option(
        "--ephemeral-storage",
        default=512,
        show_default=True,
        type=click.IntRange(1, 10240),
        metavar="MB",
        help="Size of /tmp in an execution environment.",
    ),
    click.option(
        "--layer",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        metavar="DIR",
        help="Directory of an unpacked layer, seen at /opt; repeatable, later ones win.",
    ),
    click.option(
        "--bind",
        multiple=True,
        type=click.Path(path_type=Path, exists=True, readable=False),
        metavar="PATH",
        help="File or directory below /run, /tmp, /opt or /dev that an execution environment sees "
        "although they are hidden there; read-only, repeatable.",
    ),
    click.option(
        "--runtime",
        default="",
        metavar="NAME",
        help="python3.x, found on the PATH, or provided.al2023, which runs the executable "
        "called bootstrap.  [default: that of --python]",
    ),
    click.option(
        "--python",
        default="",
        metavar="PATH",
        help="Interpreter for the handler, or the directory of its virtual environment.  [default: "
        "$VIRTUAL_ENV, .venv in the code or this Python]",
    ),
    click.option(
        "--strict-packages",
        is_flag=True,
        help="Refuse imports of packages that are neither in the code nor in a layer nor part of "
        "AWS's runtime.",
    ),
    click.option(
        "--runtime-client",
        default="bootstrap",
        show_default=True,
        type=click.Choice(["bootstrap", "awslambdaric"]),
        help="The client of the Runtime API: the gateway's own, or AWS's, which must be installed.",
    ),
    click.option(
        "--function-log-format",
        default="Text",
        show_default=True,
        type=click.Choice(LOG_FORMATS),
        help="Format of the function's log: its own lines and Lambda's about it.",
    ),
    click.option(
        "--application-log-level",
        type=click.Choice(APPLICATION_LOG_LEVELS),
        help="With JSON: the least level of the function's own lines.  [default: INFO]",
    ),
    click.option(
        "--system-log-level",
        type=click.Choice(SYSTEM_LOG_LEVELS),
        help="With JSON: the least level of Lambda's records.  [default: INFO]",
    ),
    click.option(
        "--log-group",
        default="",
        metavar="NAME",
        help="Log group in the context and of --function-logs.  [default: /aws/lambda/NAME]",
    ),
    click.option(
        "--env",
        multiple=True,
        metavar="K=V",
        help="Environment variable of the function; repeatable.",
    ),
    click.option(
        "--env-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File of K=V lines; --env wins over it.",
    ),
    click.option(
        "--function-name",
        default="",
        metavar="NAME",
        help="Name in the context and in ARNs.  [default: the code directory's name]",
    ),
    click.option(
        "--region",
        default=lambda: (
            os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
        ),
        show_default="$AWS_REGION or us-east-1",
        metavar="NAME",
        help="Region in ARNs and variables.",
    ),
    click.option(
        "--account-id",
        default=DEFAULT_ACCOUNT_ID,
        show_default=True,
        metavar="DIGITS",
        help="Account in ARNs.",
    ),
    click.option(
        "--target-group-arn",
        default="",
        metavar="ARN",
        help="ARN that events name.  [default: made from the function name]",
    ),
)


def described_function_options(command: Command) -> Command:
    """Add the options that describe a function of which the handler does not matter; the command
    receives a Function as `function` and `target_group_arn`."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        options["handler"] = "app.handler"
        return command(function=function_of(options), **options)

    return with_options(wrapped, FUNCTION_OPTIONS[1:])


def function_options(command: Command) -> Command:
    """Add the options that describe a function; the command receives a Function as `function`, and
    nothing of its target group."""

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        del options["target_group_arn"]
        return command(function=function_of(options), **options)

    return with_options(wrapped, FUNCTION_OPTIONS)


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """Return a command with these options, listed by its help in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def function_of(options: dict[str, Any]) -> Function:
    """Take the function's options out of all options; no handler is an empty one.

    The ARN of the target group stays.
    """
    handler = options.pop("handler")
    pairs, file = options.pop("env"), options.pop("env_file")
    return Function(
        handler="" if handler is None else handler_name(handler, options["runtime"]),
        code=options.pop("code"),
        name=options.pop("function_name"),
        region=options.pop("region"),
        account_id=options.pop("account_id"),
        timeout_seconds=options.pop("timeout"),
        memory_mb=options.pop("memory_size"),
        environment=environment(list(pairs), file),
        environment_pairs=tuple(pairs),
        environment_file=file,
        ephemeral_storage_mb=options.pop("ephemeral_storage"),
        layers=tuple(options.pop("layer")),
        binds=tuple(options.pop("bind")),
        runtime=options.pop("runtime"),
        python=options.pop("python"),
        runtime_client=options.pop("runtime_client"),
        strict_packages=options.pop("strict_packages"),
        logging=logging_config(
            options.pop("function_log_format"),
            options.pop("application_log_level"),
            options.pop("system_log_level"),
            options.pop("log_group"),
        ),
    )


def listener_options(command: Command) -> Command:
    """Add the options of listener and target group; the command receives `attributes` and
    `as_url`."""

    @click.option(
        "--multi-value-headers",
        is_flag=True,
        help="Events and replies with multiValueHeaders; "
        "short for --attribute lambda.multi_value_headers.enabled=true.",
    )
    @click.option(
        "--attribute",
        multiple=True,
        metavar="KEY=VALUE",
        help="Load balancer or target group attribute under AWS's own name, for example "
        "routing.http.preserve_host_header.enabled=true; repeatable.",
    )
    @click.option(
        "--as",
        "as_url",
        default="",
        metavar="URL",
        help="Make events look as if they had come through this listener, "
        "for example https://shop.example.org:443.",
    )
    @functools.wraps(command)
    def wrapped(*, multi_value_headers: bool, attribute: tuple[str, ...], **options: Any) -> Any:
        settings = [*attribute, *([MULTI_VALUE] if multi_value_headers else [])]
        return command(
            attributes=functools.reduce(with_attribute, settings, Attributes()), **options
        )

    return wrapped

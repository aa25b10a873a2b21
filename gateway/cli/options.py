"""Options that several commands share, and how they become settings."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.config.settings import (
    DEFAULT_ACCOUNT_ID,
    DEFAULT_REGION,
    Function,
    environment,
)
from gateway.core.attributes import Attributes, with_attribute

Command = Callable[..., Any]

MULTI_VALUE = "lambda.multi_value_headers.enabled=true"


def function_options(command: Command) -> Command:
    """Add the options that describe a function; the command receives a Function as `function`."""

    @click.argument("handler")
    @click.option(
        "--code",
        default=".",
        type=click.Path(path_type=Path),
        help="Directory of the code.  [default: the current one]",
    )
    @click.option(
        "--timeout",
        default=3.0,
        show_default=True,
        type=click.FloatRange(0, 900, min_open=True),
        help="The function's timeout in seconds.",
    )
    @click.option(
        "--memory-size",
        default=128,
        show_default=True,
        type=click.IntRange(128, 32768),
        help="MB that the context names; nothing limits memory in-process.",
    )
    @click.option("--env", multiple=True, metavar="K=V", help="Environment variable; repeatable.")
    @click.option("--env-file", type=click.Path(path_type=Path), help="File of K=V lines.")
    @click.option("--function-name", default="", help="[default: the code directory's name]")
    @click.option(
        "--region",
        default=lambda: (
            os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
        ),
        show_default="$AWS_REGION or us-east-1",
        help="Region in ARNs and variables.",
    )
    @click.option("--account-id", default=DEFAULT_ACCOUNT_ID, show_default=True)
    @click.option("--target-group-arn", default="", help="[default: made from the function name]")
    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        return command(function=_function(options), **options)

    return wrapped


def _function(options: dict[str, Any]) -> Function:
    """Take the function's options out of all options."""
    return Function(
        handler=options.pop("handler"),
        code=options.pop("code"),
        name=options.pop("function_name"),
        region=options.pop("region"),
        account_id=options.pop("account_id"),
        timeout_seconds=options.pop("timeout"),
        memory_mb=options.pop("memory_size"),
        environment=environment(list(options.pop("env")), options.pop("env_file")),
        target_group_arn=options.pop("target_group_arn"),
    )


def listener_options(command: Command) -> Command:
    """Add the options of listener and target group; the command receives `attributes` and
    `as_url`."""

    @click.option(
        "--multi-value-headers",
        is_flag=True,
        help="Events and replies with multiValueHeaders; short for the attribute.",
    )
    @click.option(
        "--attribute",
        multiple=True,
        metavar="KEY=VALUE",
        help="Load balancer or target group attribute under AWS's own name; repeatable.",
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

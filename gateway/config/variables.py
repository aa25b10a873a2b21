"""The environment variables that a Lambda function finds (lambda.md 1.7), in this process or in one
of its own."""

import sys
from collections.abc import Mapping

from gateway.config.function import Function
from gateway.core.invocation import LATEST
from gateway.core.log_names import group_name

OVERRIDABLE = {
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
    "_AWS_XRAY_DAEMON_PORT": "2000",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
}
"""Set only where the machine or the function sets nothing."""


CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""What a role would provide: handed on from the machine, where no function sets its own."""

PATH = "/usr/local/bin:/usr/bin/:/bin:/opt/bin"
LIBRARY_PATH = "/var/task:/var/task/lib:/opt/lib"
"""AWS's without the directories of its own system: those here have other libraries."""


def function_variables(
    function: Function, machine: Mapping[str, str], *, date: str, log_stream_id: str
) -> dict[str, str]:
    """Return what to set over the machine's variables; `date` is `YYYY/MM/DD`, the id 32 hex
    digits.

    AWS's order: the function's own variables, and over them what the platform sets.
    """
    name = function.completed_name()
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    missing = {key: value for key, value in OVERRIDABLE.items() if key not in machine}
    return {
        **missing,
        **function.logging.variables(),
        **function.environment,
        "_HANDLER": function.handler,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{python}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": LATEST,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": group_name(name, function.logging.log_group),
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{date}/[{LATEST}]{log_stream_id}",
        "LAMBDA_TASK_ROOT": str(function.code.resolve()),
    }


def environment_variables(
    function: Function, machine: Mapping[str, str], *, execution_env: str
) -> dict[str, str]:
    """Return all variables of a process of the function's own but those of its environment: log
    stream, Runtime API and directories; `execution_env` is empty for `provided` runtimes.

    Of the machine only credentials and PATH are handed on.
    """
    platform = function_variables(function, {}, date="", log_stream_id="")
    credentials = {key: machine[key] for key in CREDENTIALS if key in machine}
    variables = {
        **OVERRIDABLE,
        "PATH": f"{machine.get('PATH', '')}:{PATH}".lstrip(":"),
        "LD_LIBRARY_PATH": LIBRARY_PATH,
        "SHLVL": "0",
        **credentials,
        **function.environment,
        **{key: platform[key] for key in platform if key not in function.environment},
    }
    if execution_env:
        variables["AWS_EXECUTION_ENV"] = execution_env
    else:
        del variables["AWS_EXECUTION_ENV"]
    del variables["AWS_LAMBDA_LOG_STREAM_NAME"]
    return variables

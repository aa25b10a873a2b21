"""The environment variables that a Lambda function finds (lambda.md 1.7), for one in this
process."""

import sys
from collections.abc import Mapping

from gateway.config.settings import Function

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
        **function.environment,
        "_HANDLER": function.handler,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{python}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{date}/[$LATEST]{log_stream_id}",
        "LAMBDA_TASK_ROOT": str(function.code.resolve()),
    }

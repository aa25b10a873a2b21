"""The names under which CloudWatch Logs keeps what a function writes (lambda.md 9.1)."""

import hashlib
from datetime import UTC, datetime
from functools import lru_cache


def group_name(function_name: str, custom: str = "") -> str:
    """Return the log group: the function's own unless its configuration names another."""
    return custom or f"/aws/lambda/{function_name}"


def stream_name(
    function_name: str, version: str, environment_id: str, at: float, *, is_custom_group: bool
) -> str:
    """Return the log stream of an environment that began at these epoch seconds.

    A group that several functions may share has the function's name in it, as in the recorded
    `2026/10/08/tenner-notifier[$LATEST]22be53a8cfde4e68b844f8ec293b2543`.
    """
    owner = function_name if is_custom_group else ""
    return f"{datetime.fromtimestamp(at, UTC):%Y/%m/%d}/{owner}[{version}]{environment_id}"


@lru_cache(maxsize=64)
def runtime_version_arn(runtime_version: str, function_arn: str) -> str:
    """Return an ARN of AWS's form; its 64 hex digits are ours, the same for the same version."""
    region = function_arn.split(":")[3] if function_arn.count(":") >= 3 else "us-east-1"
    digits = hashlib.sha256(runtime_version.encode()).hexdigest()
    return f"arn:aws:lambda:{region}::runtime:{digits}"

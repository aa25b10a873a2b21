"""Amazon Resource Names of functions and target groups."""

import hashlib
import re

from gateway.core.errors import InvalidSetting

FUNCTION_NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")
ACCOUNT_ID = re.compile(r"[0-9]{12}")
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")
TARGET_GROUP_ARN = re.compile(
    r"arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:targetgroup/[a-zA-Z0-9-]{1,32}/[0-9a-f]{16}"
)

PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}
"""How the regions outside `aws` begin (botocore, data/partitions.json)."""


def partition(region: str) -> str:
    """Return the ARN partition that a region belongs to."""
    found = (name for start, name in PARTITIONS.items() if region.startswith(start))
    return next(found, "aws")


def function_arn(region: str, account_id: str, name: str) -> str:
    """Return the unqualified ARN of a function; raises InvalidSetting on a part that AWS
    refuses."""
    _check(FUNCTION_NAME, name, "function name", "letters, digits, - and _, up to 64")
    _check(ACCOUNT_ID, account_id, "account id", "twelve digits")
    _check(REGION, region, "region", "a name like eu-west-1")
    return f"arn:{partition(region)}:lambda:{region}:{account_id}:function:{name}"


def target_group_arn(region: str, account_id: str, name: str) -> str:
    """Return a target group ARN that stays the same for the same name."""
    short = re.sub(r"[^a-zA-Z0-9-]", "-", name)[:32].strip("-") or "function"
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return (
        f"arn:{partition(region)}:elasticloadbalancing:{region}:{account_id}"
        f":targetgroup/{short}/{digest}"
    )


def checked_target_group_arn(arn: str) -> str:
    """Return the ARN as given; raises InvalidSetting for other text."""
    example = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/16HEX"
    _check(TARGET_GROUP_ARN, arn, "target group ARN", f"the form {example}")
    return arn


def _check(pattern: re.Pattern[str], value: str, what: str, rule: str) -> None:
    if not pattern.fullmatch(value):
        raise InvalidSetting(f"{what} {value!r} is not valid; it needs {rule}")

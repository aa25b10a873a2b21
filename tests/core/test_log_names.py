"""Names of log groups, log streams and runtime versions."""

import re

from gateway.core.log_names import group_name, runtime_version_arn, stream_name
from tests.core.reported import AT

HEX = "22be53a8cfde4e68b844f8ec293b2543"


def test_a_group_belongs_to_its_function_or_to_several() -> None:
    assert group_name("shop") == "/aws/lambda/shop"
    assert group_name("shop", "team/logs") == "team/logs"


def test_a_stream_has_date_version_and_environment() -> None:
    own = stream_name("shop", "$LATEST", HEX, AT, is_custom_group=False)
    shared = stream_name("shop", "7", HEX, AT, is_custom_group=True)

    assert own == f"2026/10/08/[$LATEST]{HEX}"
    assert shared == f"2026/10/08/shop[7]{HEX}"


def test_a_runtime_version_has_an_arn_in_the_region_of_its_function() -> None:
    arn = runtime_version_arn("python:3.12.v18", "arn:aws:lambda:eu-west-1:1:function:shop")

    assert re.fullmatch(r"arn:aws:lambda:eu-west-1::runtime:[0-9a-f]{64}", arn)
    assert runtime_version_arn("python:3.12.v18", "").startswith("arn:aws:lambda:us-east-1::")
    assert runtime_version_arn("python:3.13.v1", "")[-64:] != arn[-64:]

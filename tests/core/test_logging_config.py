"""LoggingConfig: its defaults, what AWS refuses, and what a function finds of it."""

from typing import Any

import pytest

from gateway.core.errors import InvalidSetting
from gateway.core.logging_config import LoggingConfig, logging_config


def test_text_is_the_default_and_says_nothing_to_the_function() -> None:
    assert logging_config() == LoggingConfig("Text", "INFO", "INFO", "")
    assert logging_config().variables() == {}


def test_json_sets_both_levels_to_info() -> None:
    found = logging_config("JSON")

    assert (found.application_log_level, found.system_log_level) == ("INFO", "INFO")
    assert found.variables() == {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}


def test_function_is_told_the_level_of_its_own_lines() -> None:
    found = logging_config("JSON", "WARN", "DEBUG")

    assert (found.application_log_level, found.system_log_level) == ("WARN", "DEBUG")
    assert found.variables()["AWS_LAMBDA_LOG_LEVEL"] == "WARN"


@pytest.mark.parametrize(
    "levels", [{"application_log_level": "INFO"}, {"system_log_level": "WARN"}]
)
def test_levels_need_json(levels: Any) -> None:
    with pytest.raises(InvalidSetting, match="not supported when the log format is Text"):
        logging_config("Text", **levels)


@pytest.mark.parametrize("name", ["shop", "/team/a_b-c.d#1", "aws", "x" * 512])
def test_log_group_may_be_any_name_of_awss_letters(name: str) -> None:
    assert logging_config(log_group=name).log_group == name


@pytest.mark.parametrize("name", ["a b", "a:b", "é", "x" * 513, "a\n", "aws/lambda/x"])
def test_log_group_that_aws_refuses_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^log group "):
        logging_config(log_group=name)

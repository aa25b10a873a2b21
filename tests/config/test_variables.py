"""The environment variables of a function, in this process and in one of its own."""

import sys
from pathlib import Path

import pytest

from gateway.config.environment import RESERVED
from gateway.config.function import Function
from gateway.config.variables import environment_variables, function_variables

# As recorded in a real environment (lambda.md 1.7).
DEFAULTS = {
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
    "_AWS_XRAY_DAEMON_PORT": "2000",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
}

FUNCTION = Function(
    "app.handler",
    Path("/srv/shop"),
    region="eu-west-1",
    memory_mb=256,
    environment={"STAGE": "test"},
)


def variables(function: Function = FUNCTION, **machine: str) -> dict[str, str]:
    return function_variables(function, machine, date="2026/11/22", log_stream_id=32 * "a")


def test_function_finds_what_lambda_sets() -> None:
    assert variables() == {
        **DEFAULTS,
        "STAGE": "test",
        "_HANDLER": "app.handler",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/shop",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"2026/11/22/[$LATEST]{32 * 'a'}",
        "LAMBDA_TASK_ROOT": "/srv/shop",
    }


@pytest.mark.parametrize("key", DEFAULTS)
def test_what_the_machine_sets_is_left_alone(key: str) -> None:
    assert key not in variables(**{key: "mine"})


@pytest.mark.parametrize("key", DEFAULTS)
def test_what_the_function_sets_wins_over_defaults(key: str) -> None:
    function = Function("app.handler", environment={key: "mine"})

    assert variables(function)[key] == "mine"
    assert variables(function, **{key: "theirs"})[key] == "mine"


def test_platform_wins_over_function_and_machine() -> None:
    function = Function("app.handler", environment={"AWS_REGION": "mine"})

    assert variables(function, AWS_REGION="theirs")["AWS_REGION"] == "us-east-1"


def test_every_variable_that_the_platform_sets_is_reserved() -> None:
    set_by_platform = set(variables()) - set(DEFAULTS) - {"STAGE"}

    assert set_by_platform < RESERVED


# --- of a process of its own ---


def own(function: Function = FUNCTION, execution_env: str = "X", **machine: str) -> dict[str, str]:
    return environment_variables(function, machine, execution_env=execution_env)


def test_environment_finds_what_lambda_sets() -> None:
    in_process = variables()
    missing = ("AWS_LAMBDA_LOG_STREAM_NAME", "AWS_EXECUTION_ENV")
    same = {key: in_process[key] for key in in_process if key not in missing}

    assert own(PATH="/bin") == {
        **same,
        "AWS_EXECUTION_ENV": "X",
        "LD_LIBRARY_PATH": "/var/task:/var/task/lib:/opt/lib",
        "PATH": "/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "SHLVL": "0",
    }


def test_runtime_of_its_own_has_no_execution_environment() -> None:
    assert "AWS_EXECUTION_ENV" not in own(execution_env="")


def test_of_the_machine_only_credentials_and_path_are_handed_on() -> None:
    credentials = {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
    }
    found = own(PATH="/bin", HOME="/root", LANG="C", AWS_PROFILE="mine", **credentials)

    assert credentials.items() <= found.items()
    assert not {"HOME", "AWS_PROFILE"} & set(found)
    assert found["LANG"] == "en_US.UTF-8"


def test_functions_credentials_path_and_defaults_win_over_the_machines() -> None:
    mine = {"AWS_ACCESS_KEY_ID": "mine", "PATH": "/mine", "TZ": "Europe/Berlin", "SHLVL": "7"}

    found = own(Function("app.handler", environment=mine), AWS_ACCESS_KEY_ID="theirs", PATH="/bin")

    assert mine.items() <= found.items()

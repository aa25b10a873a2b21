"""Settings: what is completed, what is refused, and the function's environment variables."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.settings import (
    DEFAULT_ACCOUNT_ID,
    DEFAULT_REGION,
    ENVIRONMENT_BYTES,
    Function,
    Serving,
    environment,
)
from gateway.core.arn import checked_target_group_arn
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("shop", "shop"),
        ("my_shop-2", "my_shop-2"),
        ("my shop.v2", "my-shop-v2"),
        ("käse", "k-se"),
        (80 * "x", 64 * "x"),
    ],
)
def test_function_is_called_like_its_code_directory(
    tmp_path: Path, directory: str, expected: str
) -> None:
    assert Function("app.handler", tmp_path / directory).completed_name() == expected


def test_function_in_the_root_directory_is_called_function() -> None:
    assert Function("app.handler", Path("/")).completed_name() == "function"


def test_relative_code_directory_is_resolved_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Function("app.handler").completed_name() == Function("h", tmp_path).completed_name()


def test_given_name_wins_over_the_directory() -> None:
    assert Function("app.handler", Path("/srv/code"), "shop").completed_name() == "shop"


def test_callers_name_the_function_without_a_qualifier() -> None:
    reference = Function("app.handler", name="shop").reference()

    assert (reference.name, reference.qualifier) == ("shop", "")
    assert reference.arn == "arn:aws:lambda:us-east-1:123456789012:function:shop"


@pytest.mark.parametrize("change", [{"name": "a b"}, {"region": "here"}, {"account_id": "1"}])
def test_function_that_aws_would_refuse_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting):
        replace(Function("app.handler", name="shop"), **change).reference()


def test_target_group_is_made_from_region_account_and_name() -> None:
    arn = Function("app.handler", name="shop").target_group()

    assert checked_target_group_arn(arn) == arn
    assert f":{DEFAULT_REGION}:{DEFAULT_ACCOUNT_ID}:targetgroup/shop/" in arn


def test_given_target_group_is_kept_and_checked() -> None:
    assert Function("app.handler", target_group_arn=ARN).target_group() == ARN
    with pytest.raises(InvalidSetting):
        Function("app.handler", target_group_arn="shop").target_group()


@pytest.mark.parametrize(
    ("concurrency", "threads", "expected"),
    [(16, None, 16), (4, None, 4), (16, 0, 0), (16, 4, 4), (4, 16, 4), (1, 1, 1)],
)
def test_threads_never_outnumber_the_concurrency(
    concurrency: int, threads: int | None, expected: int
) -> None:
    serving = Serving(Function("app.handler"), concurrency=concurrency, threads=threads)

    assert serving.worker_threads() == expected


def test_serving_stays_on_loopback_with_awss_attributes_unless_told_otherwise() -> None:
    serving = Serving(Function("app.handler"))

    assert (serving.host, serving.port, serving.concurrency) == ("127.0.0.1", 8080, None)
    assert (serving.attributes, serving.listener_url) == (Attributes(), "")
    assert (serving.access_log, serving.log_format, serving.is_quiet) == ("", "text", False)
    assert (serving.is_faithful, serving.is_reloading) == (False, False)


def test_function_has_awss_limits_unless_told_otherwise() -> None:
    function = Function("app.handler")

    assert (function.timeout_seconds, function.memory_mb, function.environment) == (3.0, 128, {})


def test_variable_may_be_empty_and_hold_equals_signs() -> None:
    assert environment(["AA=", "BB=a=b"]) == {"AA": "", "BB": "a=b"}


def test_later_variable_wins() -> None:
    assert environment(["AA=1", "AA=2"]) == {"AA": "2"}


def test_quotes_on_the_command_line_are_the_shells_business() -> None:
    assert environment(['AA="a","b"', "BB='x'"]) == {"AA": '"a","b"', "BB": "'x'"}


def test_variables_come_from_a_file_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\n\nAA=file\n  export BB=file  \r\nCC=file\n")

    assert environment(["CC=line"], file) == {"AA": "file", "BB": "file", "CC": "line"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('AA="a b"', "a b"),
        ("AA='a b'", "a b"),
        ("AA=\"say 'hi'\"", "say 'hi'"),
        ("AA='\"'", '"'),
        ('AA=""', ""),
        ('AA="', '"'),
        ("AA=\"a'", "\"a'"),
        ("AA=XaX", "XaX"),
        ('AA=a"b"', 'a"b"'),
        ("AA=käse", "käse"),
    ],
)
def test_quotes_around_a_whole_value_in_a_file_are_taken_off(
    tmp_path: Path, line: str, value: str
) -> None:
    file = tmp_path / ".env"
    file.write_text(line, encoding="utf-8")

    assert environment([], file) == {"AA": value}


def test_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    binary = tmp_path / "binary.env"
    binary.write_bytes(b"AA=\xff")

    for file in (tmp_path / "missing.env", tmp_path, binary):
        with pytest.raises(InvalidSetting) as caught:
            environment([], file)
        assert str(caught.value).startswith(f"--env-file {file} cannot be read: ")


def test_variable_without_equals_sign_is_refused() -> None:
    with pytest.raises(InvalidSetting) as caught:
        environment(["AA"])

    assert str(caught.value) == "environment variable 'AA' needs the form KEY=VALUE"


@pytest.mark.parametrize(
    "key",
    [
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    ],
)
def test_variable_that_lambda_sets_is_refused(key: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        environment([f"{key}=x"])

    assert str(caught.value) == (
        f"{key} is reserved by Lambda; --region, --function-name and others set it"
    )


def test_credentials_may_be_set() -> None:
    assert environment(["AWS_ACCESS_KEY_ID=x"]) == {"AWS_ACCESS_KEY_ID": "x"}


@pytest.mark.parametrize("key", ["", "A", "1A", "_A", "A-B", "A B", "ÄA", " AA", "A\n"])
def test_key_that_lambda_refuses_is_refused(key: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        environment([f"{key}=x"])

    assert str(caught.value) == (
        f"environment variable {key!r}: Lambda wants a letter first, then letters, digits or _"
    )


def test_variables_of_4_kb_are_the_most_that_pass() -> None:
    filler = (ENVIRONMENT_BYTES - len("AABBé".encode())) * "x"

    assert ENVIRONMENT_BYTES == 4096
    for value in (filler[1:], filler):
        assert environment(["AA=é", f"BB={value}"])["BB"] == value
    with pytest.raises(InvalidSetting) as caught:
        environment(["AA=é", f"BB={filler}x"])
    assert str(caught.value) == "environment variables take 4097 bytes; Lambda allows 4096"


def test_bytes_that_are_not_utf_8_pass_as_the_operating_system_gave_them() -> None:
    assert environment(["AA=\udcff"]) == {"AA": "\udcff"}


def test_function_is_isolated_with_lambdas_sizes_unless_told_otherwise() -> None:
    serving = Serving(Function("app.handler"))
    function = serving.function

    assert (serving.is_in_process, serving.most_concurrent()) == (False, 50)
    assert (serving.queue_timeout_seconds, serving.min_environments) == (0.0, 0)
    assert (serving.idle_environment_seconds, serving.function_logs) == (600.0, "")
    assert (function.runtime, function.python, function.layers) == ("", "", ())
    assert (function.runtime_client, function.ephemeral_storage_mb) == ("bootstrap", 512)


@pytest.mark.parametrize(
    ("concurrency", "is_in_process", "expected"),
    [(None, True, 16), (None, False, 50), (3, True, 3), (3, False, 3)],
)
def test_concurrency_depends_on_where_handlers_run(
    concurrency: int | None, is_in_process: bool, expected: int
) -> None:
    serving = Serving(Function("app.handler"), concurrency=concurrency, is_in_process=is_in_process)

    assert serving.most_concurrent() == expected
    assert serving.most_started() == expected * (2 if serving.is_in_process else 1)

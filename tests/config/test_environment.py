"""A function's own variables: what is read and what is refused."""

from pathlib import Path

import pytest

from gateway.config.environment import ENVIRONMENT_BYTES, environment
from gateway.core.errors import InvalidSetting


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


def test_bytes_other_than_utf_8_pass_as_the_operating_system_gave_them() -> None:
    assert environment(["AA=\udcff"]) == {"AA": "\udcff"}

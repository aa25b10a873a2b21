"""The payloads of lambda.md 3.5 and the normalisation of 1.3."""

import json

import pytest

from gateway.core import function_errors as errors
from gateway.core.notices import LogEntry


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "Runtime exited without providing a reason"),
        (0, "Runtime exited without providing a reason"),
        (1, "Runtime exited with error: exit status 1"),
        (129, "Runtime exited with error: exit status 129"),
        (-9, "Runtime exited with error: signal: killed"),
        (-11, "Runtime exited with error: signal: segmentation fault"),
        (-6, "Runtime exited with error: signal: aborted"),
        (-34, "Runtime exited with error: signal: signal 34"),
    ],
)
def test_an_exit_is_told_in_awss_words(status: int | None, reason: str) -> None:
    assert json.loads(errors.exited("id-1", status)) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: id-1 Error: {reason}",
    }


def test_a_timeout_names_its_seconds_with_two_decimals() -> None:
    assert json.loads(errors.timed_out("id-1", 3)) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 3.00 seconds",
    }


def test_platform_errors_name_their_type_first() -> None:
    assert errors.exited("a", 0).startswith(b'{"errorType":')


def test_a_response_that_is_too_large_has_awss_text() -> None:
    assert json.loads(errors.TOO_LARGE) == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size "
        "(6291556 bytes).",
    }


def test_other_failures_name_the_invocation() -> None:
    entrypoint = json.loads(errors.invalid_entrypoint("id-1", "no such file"))
    truncated = json.loads(errors.truncated("id-1"))

    assert entrypoint["errorType"] == "Runtime.InvalidEntrypoint"
    assert entrypoint["errorMessage"] == "RequestId: id-1 Error: no such file"
    assert truncated["errorType"] == "Runtime.TruncatedResponse"
    assert truncated["errorMessage"].startswith("RequestId: id-1 Error: ")


@pytest.mark.parametrize(
    ("error_type", "normalised"),
    [
        ("Runtime.ExitError", "Runtime.ExitError"),
        ("Function.ResponseSizeTooLarge", "Function.ResponseSizeTooLarge"),
        ("about Runtime.Exit", "about Runtime.Exit"),
        ("Function.lower", "Function.Unknown"),
        ("Function.", "Function.Unknown"),
        ("Runtime.", "Runtime.Unknown"),
        ("ValueError", "Runtime.Unknown"),
        ("unhandled", "Runtime.Unknown"),
        ("", "Runtime.Unknown"),
    ],
)
def test_an_error_type_is_kept_only_in_awss_form(error_type: str, normalised: str) -> None:
    assert errors.normalised(error_type) == normalised


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (
            {"errorMessage": "m", "errorType": "t", "stackTrace": ["s"], "errorCause": {"a": 1}},
            {"errorMessage": "m", "errorType": "t", "stackTrace": ["s"]},
        ),
        ({"errorMessage": "m", "errorType": "", "stackTrace": []}, {"errorMessage": "m"}),
        ([1], "Invalid error body"),
    ],
)
def test_the_cause_of_an_error_is_not_the_callers(body: object, payload: object) -> None:
    assert json.loads(errors.without_cause(json.dumps(body).encode())) == payload


def test_an_error_with_cause_that_is_not_json_is_replaced() -> None:
    assert errors.without_cause(b"{") == b'"Invalid error body"'


TRACE = "[ERROR] ValueError: no\nTraceback (most recent call last):\n  File ...\n"
RECORD = '{"level": "ERROR", "errorMessage": "no\\nmore", "errorType": "ValueError"}'


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([], ""),
        ([LogEntry(0, "loading"), LogEntry(0, TRACE, "ERROR")], "ValueError: no"),
        ([LogEntry(0, TRACE, "ERROR"), LogEntry(0, "bye")], "ValueError: no"),
        ([LogEntry(0, "loading"), LogEntry(0, RECORD, "ERROR", is_json=True)], "ValueError: no"),
        ([LogEntry(0, '{"message": 1}', "ERROR", is_json=True)], '{"message": 1}'),
        ([LogEntry(0, "{no", "ERROR", is_json=True)], "{no"),
        ([LogEntry(0, "loading"), LogEntry(0, " last words")], "last words"),
    ],
)
def test_a_runtimes_own_word_about_its_failure_is_a_line(
    entries: list[LogEntry], line: str
) -> None:
    assert errors.told_failure(entries) == line


@pytest.mark.parametrize(
    ("payload", "failure"),
    [
        (
            b'{"errorType":"Runtime.HandlerNotFound","errorMessage":"no handler"}',
            "Runtime.HandlerNotFound: no handler",
        ),
        (b'{"errorType":"Runtime.ImportModuleError"}', "Runtime.ImportModuleError: "),
        (b'{"errorType":"ValueError","errorMessage":"Runtime.HandlerNotFound"}', ""),
        (b'"Runtime.HandlerNotFound"', ""),
        (b"no JSON", ""),
    ],
)
def test_failure_that_lasts_is_told_from_others(payload: bytes, failure: str) -> None:
    assert errors.lasting_failure(payload) == failure

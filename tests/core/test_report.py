"""The text of a function's log, as recorded on Lambda (lambda.md 9.1), and its tail."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.log_names import runtime_version_arn
from gateway.core.logging_config import LoggingConfig
from gateway.core.notices import LogEntry, Notice, OperatorWarning
from gateway.core.report import TAIL_BYTES, billed_ms, entries, log_tail, report_line
from tests.core.reported import (
    AT,
    REQUEST_ID,
    STREAM,
    init_reported,
    init_started,
    invocation_reported,
)

REPORT = (
    f"REPORT RequestId: {REQUEST_ID}\tDuration: 3.01 ms\tBilled Duration: 4 ms\t"
    "Memory Size: 128 MB\tMax Memory Used: 36 MB\t"
)
ARN = runtime_version_arn(STREAM.runtime_version, STREAM.function_arn)


def texts(notice: Notice) -> list[str]:
    return [entry.text for entry in entries(notice)]


def test_an_invocation_is_start_output_end_and_report() -> None:
    notice = invocation_reported("one", "two")

    assert entries(notice) == [
        LogEntry(AT, f"START RequestId: {REQUEST_ID} Version: $LATEST"),
        *notice.entries,
        LogEntry(notice.completed_at, f"END RequestId: {REQUEST_ID}"),
        LogEntry(notice.completed_at, REPORT),
    ]


def test_the_first_invocation_of_an_environment_shows_its_init() -> None:
    assert report_line(invocation_reported(init_ms=110.1)) == f"{REPORT}Init Duration: 110.10 ms\t"


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({"status": "timeout", "error_type": "Sandbox.Timedout"}, "Status: timeout"),
        ({"status": "timeout", "init_ms": 67.49}, "Init Duration: 67.49 ms\tStatus: timeout"),
        (
            {"status": "error", "error_type": "Runtime.ExitError"},
            "Status: error\tError Type: Runtime.ExitError",
        ),
        ({"status": "error"}, "Status: error"),
    ],
)
def test_a_failure_is_at_the_end_without_a_tab(fields: dict[str, str], ending: str) -> None:
    assert report_line(invocation_reported(**fields)) == REPORT + ending


@pytest.mark.parametrize(
    ("trace_id", "line"),
    [
        ("", ""),
        ("Root=1-6a507b87-0cc4438344b48ef127ab1931", ""),
        ("Root=1-6a507b87-0cc4438344b48ef127ab1931;Parent=d0025b207c551fde;Sampled=0", ""),
        (
            "Root=1-6a507b87-0cc4438344b48ef127ab1931;Parent=d0025b207c551fde;Sampled=1",
            "\nXRAY TraceId: 1-6a507b87-0cc4438344b48ef127ab1931\tSegmentId: d0025b207c551fde\t"
            "Sampled: true\t",
        ),
        ("Root=1-2-3; Sampled=1", "\nXRAY TraceId: 1-2-3\tSampled: true\t"),
        ("Sampled=1", "\nXRAY TraceId: \tSampled: true\t"),
    ],
)
def test_a_sampled_trace_is_a_second_line(trace_id: str, line: str) -> None:
    assert report_line(invocation_reported(trace_id=trace_id)) == REPORT + line


def test_a_cold_start_is_announced() -> None:
    assert texts(init_started()) == [
        f"INIT_START Runtime Version: python:3.12.v18\tRuntime Version ARN: {ARN}"
    ]


def test_an_init_inside_an_invocation_is_not_announced() -> None:
    assert texts(init_started(phase="invoke")) == []


def test_a_runtime_without_a_version_is_not_announced() -> None:
    assert texts(init_started(stream=replace(STREAM, runtime_version=""))) == []


def test_an_init_that_went_well_leaves_its_output_only() -> None:
    assert texts(init_reported(entries=[LogEntry(AT, "loading")])) == ["loading"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"status": "timeout", "init_ms": 1236.04, "error_type": "Runtime.Unknown"},
            "INIT_REPORT Init Duration: 1236.04 ms\tPhase: init\tStatus: timeout",
        ),
        (
            {
                "status": "error",
                "phase": "invoke",
                "init_ms": 0.91,
                "error_type": "Runtime.ExitError",
            },
            "INIT_REPORT Init Duration: 0.91 ms\tPhase: invoke\tStatus: error\t"
            "Error Type: Runtime.ExitError",
        ),
    ],
)
def test_an_init_that_failed_is_reported(fields: dict[str, str], line: str) -> None:
    notice = init_reported(entries=[LogEntry(AT, "loading")], **fields)

    assert texts(notice) == ["loading", line]


def test_other_notices_are_not_in_the_log() -> None:
    assert entries(OperatorWarning("busy")) == []
    assert entries(OperatorWarning("busy"), LoggingConfig("JSON")) == []


@pytest.mark.parametrize(
    ("duration_ms", "init_ms", "billed"),
    [
        (3.01, None, 4),
        (80.0, 133.61, 214),
        (3000.0, 67.49, 3068),
        (3000.0, None, 3000),
        ((2.004 - 2) * 1000, None, 4),
        (1072.145, None, 1073),
        (0.0004, None, 1),
    ],
)
def test_billed_are_whole_milliseconds_with_the_init(
    duration_ms: float, init_ms: float | None, billed: int
) -> None:
    assert billed_ms(duration_ms, init_ms) == billed


def test_the_tail_is_the_log_of_the_invocation() -> None:
    assert (
        log_tail(invocation_reported("é"))
        == (
            f"START RequestId: {REQUEST_ID} Version: $LATEST\né\n"
            f"END RequestId: {REQUEST_ID}\n{REPORT}\n"
        ).encode()
    )


def test_the_tail_is_in_the_format_of_the_log() -> None:
    tail = log_tail(invocation_reported(), LoggingConfig("JSON"))

    assert [line[2:6] for line in tail.splitlines()] == [b"time", b"time"]


FRAME_BYTES = len(log_tail(invocation_reported("")))


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_the_tail_is_four_kilobytes_at_most(size: int) -> None:
    tail = log_tail(invocation_reported("x" * (TAIL_BYTES - FRAME_BYTES + size)))

    assert len(tail) == min(TAIL_BYTES + size, TAIL_BYTES)
    assert tail.startswith(b"TART" if size == 1 else b"START")
    assert tail.endswith(f"{REPORT}\n".encode())


LINES = st.builds(
    lambda text, size: (text * size)[:size],
    st.text(alphabet="aé€😀", min_size=1, max_size=9),
    st.integers(500, 2500),
)


@given(st.lists(LINES, min_size=2, max_size=4))
def test_the_tail_has_whole_characters(lines: list[str]) -> None:
    notice = invocation_reported(*lines)
    whole = "".join(f"{entry.text}\n" for entry in entries(notice))

    tail = log_tail(notice).decode()
    assert whole.endswith(tail)
    assert len(tail.encode()) > min(TAIL_BYTES, len(whole.encode())) - 4

"""The JSON format of a function's log: records as Lambda writes them, and levels (lambda.md
9.2)."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.json_report import is_wanted, known_level
from gateway.core.log_names import runtime_version_arn
from gateway.core.logging_config import LoggingConfig
from gateway.core.notices import LogEntry, Notice
from gateway.core.report import entries
from tests.core.reported import AT, STREAM, init_reported, init_started, invocation_reported

ALL = LoggingConfig("JSON", "TRACE", "DEBUG")
DEFAULT = LoggingConfig("JSON")

IDENTITY = '"requestId":"79b5e81f-9cdd-4145-b1f6-7c50ef8a2a36"'


def texts(notice: Notice, config: LoggingConfig = DEFAULT) -> list[str]:
    return [entry.text for entry in entries(notice, config)]


def kinds(notice: Notice, config: LoggingConfig) -> list[str]:
    return [json.loads(text)["type"] for text in texts(notice, config)]


def written(text: str, config: LoggingConfig = DEFAULT, **fields: Any) -> list[str]:
    """Return what becomes of one entry of a function."""
    notice = init_reported(entries=[LogEntry(AT, text, **fields)])
    return texts(notice, replace(config, system_log_level="WARN"))


def test_a_cold_start() -> None:
    arn = runtime_version_arn(STREAM.runtime_version, STREAM.function_arn)

    assert texts(init_started()) == [
        '{"time":"2026-10-08T07:30:27.768Z","type":"platform.initStart","record":{'
        '"initializationType":"on-demand","phase":"init","runtimeVersion":"python:3.12.v18",'
        f'"runtimeVersionArn":"{arn}","functionName":"shop","functionVersion":"$LATEST",'
        '"instanceId":"2026/10/08/[$LATEST]22be53a8cfde4e68b844f8ec293b2543",'
        '"instanceMaxMemory":134217728}}'
    ]


def test_a_cold_start_without_a_runtime_version_is_a_detail() -> None:
    notice = init_started(stream=replace(STREAM, runtime_version=""))

    assert texts(notice) == []
    assert "runtimeVersion" not in texts(notice, ALL)[0]


def test_an_invocation() -> None:
    notice = invocation_reported(init_ms=463.5124, duration_ms=1233.96, billed_ms=1698)

    assert texts(notice) == [
        '{"time":"2026-10-08T07:30:27.768Z","type":"platform.start","record":{'
        f'{IDENTITY},"functionArn":"arn:aws:lambda:eu-central-1:111122223333:function:shop",'
        '"version":"$LATEST"}}',
        '{"time":"2026-10-08T07:30:27.771Z","type":"platform.report","record":{'
        f'{IDENTITY},"metrics":{{"durationMs":1233.96,"billedDurationMs":1698,"memorySizeMB":128,'
        '"maxMemoryUsedMB":36,"initDurationMs":463.512},"status":"success"}}',
    ]


def test_a_timeout() -> None:
    stream = replace(STREAM, function_arn="")
    fields = {"duration_ms": 5001.182, "status": "timeout", "produced_bytes": 0}

    start, done, report = texts(invocation_reported(stream=stream, **fields))
    assert "functionArn" not in start
    assert f'{{{IDENTITY},"status":"timeout","metrics":{{"durationMs":5001.182,' in done
    assert done.endswith('"producedBytes":0}}}')
    assert report.endswith('"maxMemoryUsedMB":36},"status":"timeout"}}')


def test_an_error_has_its_type() -> None:
    notice = invocation_reported(status="error", error_type="Runtime.ExitError")

    assert texts(notice)[-1].endswith('"status":"error","errorType":"Runtime.ExitError"}}')


def test_an_init_that_failed() -> None:
    notice = init_reported(status="timeout", init_ms=10000.487, error_type="")

    assert texts(notice) == [
        '{"time":"2026-10-08T07:30:28.168Z","type":"platform.initRuntimeDone","record":{'
        '"initializationType":"on-demand","phase":"init","status":"timeout"}}',
        '{"time":"2026-10-08T07:30:28.168Z","type":"platform.initReport","record":{'
        '"initializationType":"on-demand","phase":"init","status":"timeout",'
        '"metrics":{"durationMs":10000.487}}}',
    ]


@pytest.mark.parametrize(
    ("notice", "least", "expected"),
    [
        (init_reported(), "DEBUG", ["platform.initRuntimeDone", "platform.initReport"]),
        (init_reported(), "INFO", []),
        (
            init_reported(status="error"),
            "WARN",
            ["platform.initRuntimeDone", "platform.initReport"],
        ),
        (
            invocation_reported(),
            "DEBUG",
            ["platform.start", "platform.runtimeDone", "platform.report"],
        ),
        (invocation_reported(), "INFO", ["platform.start", "platform.report"]),
        (invocation_reported(), "WARN", []),
        (
            invocation_reported(status="error"),
            "WARN",
            ["platform.runtimeDone", "platform.report"],
        ),
    ],
)
def test_a_record_of_the_platform_needs_its_level(
    notice: Notice, least: str, expected: list[str]
) -> None:
    assert kinds(notice, LoggingConfig("JSON", system_log_level=least)) == expected


COMPLETE = '{"timestamp": "2024-11-02T16:51:31.587199Z", "level": "error", "message": "é"}'


@pytest.mark.parametrize("text", [COMPLETE, COMPLETE.replace("timestamp", "time"), f" {COMPLETE}"])
def test_a_complete_object_is_not_touched(text: str) -> None:
    assert written(text) == [text]


STAMP = '"timestamp":"2026-10-08T07:30:27.768Z"'


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ('{"message": "x"}', f'{{{STAMP},"level":"INFO","message": "x"}}'),
        (" {}", f'{{{STAMP},"level":"INFO"}}'),
        ('{"level": "debug"}', f'{{{STAMP},"level": "debug"}}'),
        ('{"time":"2026-01-01T00:00:00Z"}', '{"level":"INFO","time":"2026-01-01T00:00:00Z"}'),
        ('{"timestamp":1,"level":"debug"}', '{"timestamp":1,"level":"debug"}'),
    ],
)
def test_an_object_gets_what_it_lacks(text: str, completed: str) -> None:
    assert written(text) == [completed]
    json.loads(completed)


@pytest.mark.parametrize(
    "text", ["plain", "", "{", '["list"]', '{"lone": "\\ud800"}', "{1}", "12", '{"a":1} x']
)
def test_plain_text_stays_plain_at_every_level(text: str) -> None:
    assert written(text, LoggingConfig("JSON", "FATAL")) == [text]


@pytest.mark.parametrize(
    ("text", "least", "is_kept"),
    [
        (COMPLETE, "ERROR", True),
        (COMPLETE, "FATAL", False),
        (COMPLETE.replace("error", "warning"), "WARN", True),
        (COMPLETE.replace("error", "warning"), "ERROR", False),
        (COMPLETE.replace("error", "CRITICAL"), "FATAL", True),
        (COMPLETE.replace("error", "loud"), "INFO", True),
        (COMPLETE.replace("error", "loud"), "WARN", False),
        (COMPLETE.replace('"error"', "{}"), "WARN", False),
        (COMPLETE.replace("2024", "24"), "WARN", False),
        ('{"level": "ERROR"}', "WARN", False),
        ('{"message": "x"}', "INFO", True),
        ('{"message": "x"}', "WARN", False),
    ],
)
def test_an_object_needs_its_level(text: str, least: str, is_kept: bool) -> None:
    assert bool(written(text, LoggingConfig("JSON", least))) == is_kept


def test_the_level_of_the_log_pipe_counts_first() -> None:
    at_least_error = LoggingConfig("JSON", "ERROR")

    assert written("[ERROR] E: no", at_least_error, level="ERROR") == ["[ERROR] E: no"]
    assert written("[INFO] x", at_least_error, level="INFO") == []
    assert len(written('{"message": "x"}', at_least_error, level="FATAL", is_json=True)) == 1


def test_levels_are_in_order() -> None:
    levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]

    for place, level in enumerate(levels):
        assert [is_wanted(level, least) for least in levels].count(True) == place + 1
    assert known_level(None) == "INFO"

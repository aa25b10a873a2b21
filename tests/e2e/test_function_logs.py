"""What `gateway serve --function-logs` keeps of a function in the JSON format (lambda.md 9.2)."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import get, serving

pytestmark = pytest.mark.slow

APP = """
import json, logging, os
LOG = logging.getLogger("shop")
LOG.warning("loaded")
def handler(event, context):
    LOG.debug("d")
    LOG.info("i")
    LOG.error("e")
    print("printed")
    print(json.dumps({"message": "own", "level": "debug", "timestamp": "2026-01-01T00:00:00Z"}))
    if event["path"] == "/fail":
        raise ValueError("no")
    names = "AWS_LAMBDA_LOG_FORMAT", "AWS_LAMBDA_LOG_LEVEL", "AWS_LAMBDA_LOG_GROUP_NAME"
    body = [context.log_group_name, context.log_stream_name, *map(os.environ.get, names)]
    return {"statusCode": 200, "body": json.dumps(body)}
"""
JSON = ("--function-log-format", "JSON")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    code = tmp_path / "shop"
    code.mkdir()
    (code / "app.py").write_text(APP)
    return code


def logged(code: Path, *options: str, path: str = "/") -> tuple[bytes, list[Any], Path]:
    """Serve one request; return its body, what the function's log holds, and the log's file."""
    logs = code.parent / "logs"
    with serving("app.handler", *options, "--function-logs", str(logs), code=code) as server:
        _, body = get(server, path)
    [file] = logs.rglob("*.log")
    records = [line.partition(" ")[2] for line in file.read_text().splitlines()]
    return body, [parsed(record) for record in records], file


def parsed(record: str) -> Any:
    return json.loads(record) if record.startswith("{") else record


def shown(records: list[Any]) -> list[str]:
    """Return each record as its type, its message, or itself."""
    return [
        record.get("type") or record.get("message") or record["errorType"]
        if isinstance(record, dict)
        else record
        for record in records
    ]


CLIENTS = pytest.mark.parametrize("client", ["bootstrap", "awslambdaric"])


@CLIENTS
def test_records_of_platform_and_function_are_json(code: Path, client: str) -> None:
    body, records, file = logged(code, *JSON, "--runtime-client", client)

    assert shown(records) == [
        "platform.initStart",
        "loaded",
        "platform.start",
        *sorted(["printed", "i", "e"], key=shown(records).index),  # of two pipes
        "platform.report",
    ]
    assert json.loads(body)[2:] == ["JSON", "INFO", "/aws/lambda/shop"]
    error = next(record for record in records if shown([record]) == ["e"])
    request_id = next(record for record in records if shown([record]) == ["platform.start"])
    assert (error["level"], error["logger"]) == ("ERROR", "shop")
    assert error["requestId"] == request_id["record"]["requestId"]
    assert file.parent.name == "aws_lambda_shop"


@CLIENTS
def test_levels_say_which_records_are_kept(code: Path, client: str) -> None:
    levels = ("--application-log-level", "TRACE", "--system-log-level", "DEBUG")
    _, everything, _ = logged(code, *JSON, *levels, "--runtime-client", client)

    assert set(shown(everything)) == {
        *("platform.initStart", "platform.initRuntimeDone", "platform.initReport"),
        *("platform.start", "platform.runtimeDone", "platform.report"),
        *("loaded", "d", "i", "e", "printed", "own"),
    }


@CLIENTS
def test_little_is_kept_at_high_levels_but_failures(code: Path, client: str) -> None:
    levels = ("--application-log-level", "ERROR", "--system-log-level", "WARN")
    options = (*JSON, *levels, "--runtime-client", client)
    _, records, _ = logged(code, *options, path="/fail")

    assert sorted(shown(records)) == [
        "ValueError",
        "e",
        "platform.report",
        "platform.runtimeDone",
        "printed",
    ]
    [error] = [record for record in records if shown([record]) == ["ValueError"]]
    assert (error["level"], error["errorMessage"]) == ("ERROR", "no")


def test_log_group_is_where_the_operator_wants_it(code: Path) -> None:
    body, _, file = logged(code, "--log-group", "/team/logs")

    group, stream, log_format, _, variable = json.loads(body)
    date, _, name = stream.rpartition("/")
    assert (group, variable, log_format) == ("/team/logs", "/team/logs", None)
    assert name.startswith("shop[$LATEST]")
    assert file.parent.name == "team_logs"
    assert file.stem.startswith(f"{date.replace('/', '_')}_shop_LATEST_")


def test_function_may_overrule_the_variables(code: Path) -> None:
    body, _, _ = logged(code, *JSON, "--env", "AWS_LAMBDA_LOG_LEVEL=ERROR")

    assert json.loads(body)[2:4] == ["JSON", "ERROR"]

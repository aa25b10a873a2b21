"""The log of a function, held against that of AWS's client, awslambdaric."""

import datetime as dt
import io
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator

import awslambdaric.bootstrap as aws
import pytest

from gateway.runtime.child.logs import configure_logging


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger without outputs, restored afterwards."""
    root = logging.getLogger()
    handlers, level, converter = root.handlers, root.level, logging.Formatter.converter
    root.handlers = []
    yield root
    root.handlers, logging.Formatter.converter = handlers, converter
    root.setLevel(level)


def log_everything() -> None:
    log = logging.getLogger("a.b")
    log.warning("caf\xe9 %s", 1)
    log.error({"a": dt.date(2026, 1, 1)}, extra={"b": 1, "location": 2, "c": None})
    log.log(35, "between levels")
    log.debug("too low")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        log.exception("failed")


def logged(configure: Callable[[], object], root: logging.Logger) -> list[str]:
    """Return what everything leaves on standard output, each line without its time."""
    root.handlers = []
    root.setLevel(logging.WARNING)
    configure()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", output := io.StringIO())
        log_everything()
    lines = output.getvalue().splitlines()
    return [re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", "TIME", line) for line in lines]


@pytest.mark.parametrize("level", [None, "INFO", "error", "TRACE", "trace", "FATAL", "nonsense"])
@pytest.mark.parametrize("form", [None, "Text", "JSON", "json"])
def test_the_log_is_that_of_aws(
    form: str | None,
    level: str | None,
    root_logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aws, "_GLOBAL_AWS_REQUEST_ID", "id")
    variables = {"AWS_LAMBDA_LOG_FORMAT": form, "AWS_LAMBDA_LOG_LEVEL": level}
    environ = {name: value for name, value in variables.items() if value is not None}

    theirs = logged(
        lambda: aws._setup_logging(
            aws.LogFormat.from_str(form),
            aws._get_log_level_from_env_var(level),
            aws.StandardLogSink(),
        ),
        root_logger,
    )
    their_level = root_logger.level
    ours = logged(lambda: configure_logging(lambda: "id", environ), root_logger)

    assert ours == theirs
    assert root_logger.level == their_level


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose local time is not UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("form", ["Text", "JSON"])
@pytest.mark.usefixtures("tokyo", "root_logger")
def test_the_log_tells_utc(form: str) -> None:
    output = configure_logging(lambda: "id", {"AWS_LAMBDA_LOG_FORMAT": form})
    record = logging.makeLogRecord({"created": 0, "msecs": 0, "levelno": logging.INFO})

    output.filter(record)
    assert "1970-01-01T00:00:00" in output.format(record)


def test_log_entries_stay_apart_after_a_traceback(root_logger: logging.Logger) -> None:
    def configure() -> None:
        output = configure_logging(lambda: "", {})
        output.setFormatter(logging.Formatter("<%(message)s>"))

    assert logged(configure, root_logger)[:2] == [
        "<caf\xe9 1>",
        "<{'a': datetime.date(2026, 1, 1)}>",
    ]

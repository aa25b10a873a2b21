"""Python's logging as AWS's runtime sets it up: text or JSON objects on standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from .lambda_context import FunctionSettings

LOG_TIME = "%Y-%m-%dT%H:%M:%SZ"


class _StandardOutput(logging.Handler):
    """Writes records to whatever standard output is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        # Like AWS's, it lets a record that cannot be formatted raise where it was logged.
        text = self.format(record)
        # AWS's formatter ends the line; a traceback or a user's formatter does not, and there only
        # AWS's log pipe keeps one entry from the next.
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


_TEXT_LOG = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"

# What is not an `extra` of the user. taskName, new in Python 3.12, is not in AWS's list.
_RECORD_FIELDS = {"aws_request_id", *vars(logging.makeLogRecord({}))} - {"taskName"}


class _JsonFormatter(logging.Formatter):
    """Writes records as the JSON objects that AWS's runtime writes."""

    def format(self, record: logging.LogRecord) -> str:
        as_is = isinstance(record.msg, dict) and not record.args
        kind, error, trace = record.exc_info or (None, None, None)
        fields = {
            "timestamp": self.formatTime(record, LOG_TIME),
            "level": logging.getLevelName(min(50, max(0, record.levelno)) // 10 * 10),
            "message": record.msg if as_is else record.getMessage(),
            "logger": record.name,
            "stackTrace": traceback.format_tb(trace) if kind else None,
            "errorType": kind.__name__ if kind else None,
            "errorMessage": str(error) if kind else None,
            "requestId": getattr(record, "aws_request_id", None),
            "location": f"{record.pathname}:{record.funcName}:{record.lineno}" if kind else None,
        }
        extras = {k: v for k, v in vars(record).items() if k not in _RECORD_FIELDS}
        every = {**fields, **extras, **fields}
        present = {k: v for k, v in every.items() if v is not None}
        # What JSON cannot hold becomes its str(), so that no record is lost.
        return json.dumps(present, ensure_ascii=False, default=str) + "\n"


def configure_logging(
    request_id: Callable[[], str], environ: Mapping[str, str] = os.environ
) -> logging.Handler:
    """Give the root logger of the whole process the output that AWS gives it, and return that."""

    def stamp(record: logging.LogRecord) -> bool:
        record.aws_request_id = request_id() or ""
        return True

    json_log = FunctionSettings.from_environ(environ).json_log
    text_format = logging.Formatter(_TEXT_LOG, "%Y-%m-%dT%H:%M:%S")
    formatter = _JsonFormatter() if json_log else text_format
    # AWS sets this for every formatter of the process; in its environment TZ is UTC anyway.
    formatter.converter = time.gmtime
    output = _StandardOutput()
    output.setFormatter(formatter)
    output.addFilter(stamp)
    logging.getLogger().addHandler(output)
    name = environ.get("AWS_LAMBDA_LOG_LEVEL", "")
    level = logging.getLevelName("DEBUG" if name == "TRACE" else name.upper())
    if isinstance(level, int):
        logging.getLogger().setLevel(level)
    return output

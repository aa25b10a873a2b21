"""What a function's LoggingConfig says about its log (lambda.md 9.2)."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from gateway.core.errors import InvalidSetting

LogFormat = Literal["Text", "JSON"]
ApplicationLogLevel = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
SystemLogLevel = Literal["DEBUG", "INFO", "WARN"]

LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)
APPLICATION_LOG_LEVELS: tuple[ApplicationLogLevel, ...] = get_args(ApplicationLogLevel)
SYSTEM_LOG_LEVELS: tuple[SystemLogLevel, ...] = get_args(SystemLogLevel)

LOG_GROUP = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")
"""botocore's pattern and length of `LoggingConfig.LogGroup`."""

RESERVED_GROUP = "aws/"
"""How no custom log group may begin (lambda.md 9.1)."""


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """A function's LoggingConfig; levels count in the JSON format only."""

    log_format: LogFormat = "Text"
    application_log_level: ApplicationLogLevel = "INFO"
    system_log_level: SystemLogLevel = "INFO"
    log_group: str = ""
    """Empty: the function's own, `/aws/lambda/NAME`."""

    def variables(self) -> dict[str, str]:
        """Return what a function finds in its environment variables (lambda.md 1.7)."""
        if self.log_format == "Text":
            return {}
        return {
            "AWS_LAMBDA_LOG_FORMAT": self.log_format,
            "AWS_LAMBDA_LOG_LEVEL": self.application_log_level,
        }


TEXT = LoggingConfig()
"""What a function has that says nothing."""


def logging_config(
    log_format: LogFormat = "Text",
    application_log_level: ApplicationLogLevel | None = None,
    system_log_level: SystemLogLevel | None = None,
    log_group: str = "",
) -> LoggingConfig:
    """Return a configuration, levels that were not given being INFO; raises InvalidSetting for
    what AWS refuses."""
    has_level = application_log_level is not None or system_log_level is not None
    if has_level and log_format == "Text":
        # The reason in AWS's words: `LogLevel is not supported when LogFormat is set to "Text"`.
        raise InvalidSetting(
            "log levels are not supported when the log format is Text; leave out "
            "--application-log-level and --system-log-level, or use --function-log-format JSON"
        )
    if log_group:
        _check_group(log_group)
    return LoggingConfig(
        log_format, application_log_level or "INFO", system_log_level or "INFO", log_group
    )


def _check_group(name: str) -> None:
    if not LOG_GROUP.fullmatch(name):
        raise InvalidSetting(
            f"log group {name!r}: AWS wants 1 to 512 letters, digits and any of . - _ / #"
        )
    if name.startswith(RESERVED_GROUP):
        raise InvalidSetting(
            f"log group {name!r}: names that begin with {RESERVED_GROUP} are AWS's"
        )

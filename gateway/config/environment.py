"""The environment variables that a function is given: `KEY=VALUE`s, and the lines of a file."""

import re
from pathlib import Path

from gateway.core.errors import InvalidSetting

RESERVED = frozenset(
    {
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
    }
)
"""Keys that AWS refuses in a function's configuration (lambda.md 1.7). Credentials are reserved
there too, but here there is no role that would provide them, so they may be set."""

ENVIRONMENT_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
ENVIRONMENT_BYTES = 4 * 1024


def environment(pairs: list[str], file: Path | None = None) -> dict[str, str]:
    """Return the function's variables from a file and `KEY=VALUE`s, the latter winning."""
    lines = [] if file is None else _file_lines(file)
    variables = dict(_pair(line) for line in [*lines, *pairs])
    text = "".join([*variables, *variables.values()])
    size = len(text.encode(errors="surrogateescape"))
    if size > ENVIRONMENT_BYTES:
        raise InvalidSetting(f"environment variables take {size} bytes; Lambda allows 4096")
    return variables


def _file_lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"--env-file {file} cannot be read: {error}") from error
    lines = (line.strip().removeprefix("export ") for line in text.splitlines())
    return [_unquoted(line) for line in lines if line and not line.startswith("#")]


def _unquoted(line: str) -> str:
    """Take the quotes off a value, as a shell does with one on the command line."""
    key, equals, value = line.partition("=")
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "'\""
    return f"{key}{equals}{value[1:-1]}" if is_quoted else line


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidSetting(f"environment variable {text!r} needs the form KEY=VALUE")
    if key in RESERVED:
        raise InvalidSetting(
            f"{key} is reserved by Lambda; --region, --function-name and others set it"
        )
    if not ENVIRONMENT_KEY.fullmatch(key):
        raise InvalidSetting(
            f"environment variable {key!r}: Lambda wants a letter first, then letters, digits or _"
        )
    return key, value

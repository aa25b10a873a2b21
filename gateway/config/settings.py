"""What `serve` and its siblings were asked for, checked and completed with defaults."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gateway.config.https import Https
from gateway.config.remote import Remote
from gateway.core.arn import checked_target_group_arn, function_arn, target_group_arn
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting
from gateway.core.invocation import FunctionRef
from gateway.core.limits import Limits
from gateway.core.logging_config import TEXT, LoggingConfig

DEFAULT_REGION = "us-east-1"
DEFAULT_ACCOUNT_ID = "123456789012"
DEFAULT_ENVIRONMENTS, DEFAULT_THREADS = 50, 16

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


@dataclass(frozen=True, slots=True)
class Function:
    """One function: where its code is and how it is configured."""

    handler: str
    code: Path = Path()
    name: str = ""
    """Empty: the name of the code directory."""
    region: str = DEFAULT_REGION
    account_id: str = DEFAULT_ACCOUNT_ID
    timeout_seconds: float = 3.0
    memory_mb: int = 128
    environment: dict[str, str] = field(default_factory=dict)
    environment_pairs: tuple[str, ...] = ()
    environment_file: Path | None = None
    """What the variables were read from, to read them again."""
    target_group_arn: str = ""
    """Empty: made up from region, account and name."""
    runtime: str = ""
    """AWS's identifier, `python3.12` or `provided.al2023`; empty: the interpreter that runs this
    program."""
    python: str = ""
    """Path of another interpreter."""
    runtime_client: Literal["bootstrap", "awslambdaric"] = "bootstrap"
    strict_packages: bool = False
    """Refuse to import what is neither in code nor layers nor shipped by AWS's runtime."""
    layers: tuple[Path, ...] = ()
    """Directories; later ones win."""
    binds: tuple[Path, ...] = ()
    """What of the machine's is shown in execution environments although it is hidden there."""
    ephemeral_storage_mb: int = 512
    logging: LoggingConfig = TEXT

    def completed_name(self) -> str:
        """Return the function name, from the code directory if none was given."""
        if self.name:
            return self.name
        return re.sub(r"[^a-zA-Z0-9-_]", "-", self.code.resolve().name)[:64] or "function"

    def read_again(self) -> "Function":
        """Return the function with its variables as their file has them now; raises
        InvalidSetting."""
        if self.environment_file is None:
            return self
        fresh = environment(list(self.environment_pairs), self.environment_file)
        return replace(self, environment=fresh)

    def reference(self) -> FunctionRef:
        """Return how callers name this function; raises InvalidSetting."""
        name = self.completed_name()
        return FunctionRef(name, "", function_arn(self.region, self.account_id, name))

    def target_group(self) -> str:
        """Return the ARN of the target group the function is registered in; raises
        InvalidSetting."""
        if self.target_group_arn:
            return checked_target_group_arn(self.target_group_arn)
        return target_group_arn(self.region, self.account_id, self.completed_name())


@dataclass(frozen=True, slots=True)
class Serving:
    """How a function is served over HTTP."""

    function: Function
    """Without a handler where it is remote; events name it all the same."""
    remote: Remote | None = None
    """Where the function is that runs elsewhere."""
    host: str = "127.0.0.1"
    port: int = 8080
    attributes: Attributes = field(default_factory=Attributes)
    listener_url: str = ""
    """With `--as`: the listener that events seem to have come through."""
    concurrency: int | None = None
    """Invocations at once; None: 50 in execution environments, 16 in-process."""
    is_in_process: bool = False
    threads: int | None = None
    """In-process worker threads; None: as many as the concurrency; 0: handlers run on the event
    loop."""
    queue_timeout_seconds: float = 0.0
    min_environments: int = 0
    idle_environment_seconds: float = 600.0
    function_logs: str = ""
    """Directory of log streams; empty: none are kept."""
    is_faithful: bool = False
    is_reloading: bool = False
    requires_init: bool = False
    """Whether a function that fails in its init at the start is not served."""
    access_log: str = ""
    limits: Limits = field(default_factory=Limits)
    server: Literal["front", "uvicorn"] = "front"
    log_format: Literal["text", "json"] = "text"
    is_quiet: bool = False
    workers: int = 1
    """Processes behind the one socket."""
    worker: int = 0
    """The number of the one that serves with these settings; 0 without workers, too."""
    uds: str = ""
    """Path of a Unix socket to listen on instead of host and port."""
    https: Https | None = None
    """None: plain HTTP."""
    user: str = ""
    """`NAME` or `NAME:GROUP` that root becomes; empty: the one that started this process."""

    @property
    def scheme(self) -> str:
        """Return the scheme of the listener's URL."""
        return "https" if self.https else "http"

    def share(self, number: int) -> "Serving":
        """Return the settings of a worker, counted from 0: concurrency, threads and
        `min_environments` are divided, and what is left over goes to the first ones; raises
        InvalidSetting when there is less than one invocation for each."""

        def part(total: int) -> int:
            return total // self.workers + (number < total % self.workers)

        most = self.most_concurrent()
        threads = min(self.threads, most) if self.threads else most
        if threads < self.workers:
            raise InvalidSetting(
                f"{self.workers} workers cannot share {threads} invocations at once; "
                "raise --concurrency, or take fewer --workers"
            )
        return replace(
            self,
            worker=number,
            concurrency=part(most),
            threads=self.threads and part(threads),
            min_environments=part(self.min_environments),
        )

    def most_concurrent(self) -> int:
        """Return how many invocations run at once."""
        return self.concurrency or (DEFAULT_THREADS if self.is_in_process else DEFAULT_ENVIRONMENTS)

    def most_started(self) -> int:
        """Return how many invocations are started at once where others can wait: as many as run,
        and in-process as many again, so that no thread idles (110 us a request, not 160)."""
        return self.most_concurrent() * (2 if self.is_in_process else 1)

    def worker_threads(self) -> int:
        """Return how many invocations run at once on threads of their own; 0 for the event loop."""
        most = self.concurrency or DEFAULT_THREADS
        return most if self.threads is None else min(self.threads, most)


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

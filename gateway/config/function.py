"""One function: where its code is, how AWS would have it configured, and how this machine runs
it."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gateway.config.environment import environment
from gateway.config.remote import Remote
from gateway.core.arn import function_arn
from gateway.core.errors import InvalidSetting
from gateway.core.invocation import FunctionRef
from gateway.core.logging_config import TEXT, LoggingConfig

DEFAULT_REGION = "us-east-1"
DEFAULT_ACCOUNT_ID = "123456789012"
DEFAULT_ENVIRONMENTS, DEFAULT_THREADS = 50, 16


@dataclass(frozen=True, slots=True)
class Execution:
    """Where and how a function is run: what AWS's configuration of a function does not say."""

    remote: Remote | None = None
    """Where the function is that runs elsewhere; it has no handler."""
    is_in_process: bool = False
    concurrency: int | None = None
    """Invocations at once; None: 50 in execution environments, 16 in-process."""
    threads: int | None = None
    """In-process worker threads; None: as many as the concurrency; 0: handlers run on the event
    loop."""
    queue_timeout_seconds: float = 0.0
    min_environments: int = 0
    idle_environment_seconds: float = 600.0
    requires_init: bool = False
    """Whether a function that fails in its init at the start is not served."""

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

    def share(self, number: int, workers: int) -> "Execution":
        """Return the part of one worker, counted from 0: concurrency, threads and
        `min_environments` are divided, and the first workers get the remainder; raises
        InvalidSetting when there is less than one invocation for each."""

        def part(total: int) -> int:
            return total // workers + (number < total % workers)

        most = self.most_concurrent()
        threads = min(self.threads, most) if self.threads else most
        if threads < workers:
            raise InvalidSetting(
                f"{workers} workers cannot share {threads} invocations at once; "
                "raise --concurrency, or take fewer --workers"
            )
        return replace(
            self,
            concurrency=part(most),
            threads=self.threads and part(threads),
            min_environments=part(self.min_environments),
        )


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
    execution: Execution = Execution()

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

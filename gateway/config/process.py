"""What the whole process is told: workers, user, logs."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Process:
    """The settings of the process, or of the parent and its workers together."""

    workers: int = 1
    """Processes behind the same sockets."""
    worker: int = 0
    """The number of the worker that serves with these settings; 0 without workers, too."""
    user: str = ""
    """`NAME` or `NAME:GROUP` that root becomes; empty: the one that started this process."""
    server: Literal["front", "uvicorn"] = "front"
    is_reloading: bool = False
    """Whether changed files are taken in."""
    access_log: str = ""
    """File of ALB's access log, `-` for stdout; empty: none is kept."""
    function_logs: str = ""
    """Directory of log streams; empty: none are kept."""
    log_format: Literal["text", "json"] = "text"
    is_quiet: bool = False

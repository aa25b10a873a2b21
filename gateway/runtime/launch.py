"""What it takes to start the process of an execution environment, and what is known of it then.

A launcher is one of two: process.py, which executes a command, and fork_client.py, which has a
prepared interpreter forked. The caller gives a plan and the descriptors that become the
process's output; everything that has to happen inside the child is in the plan, as plain JSON.
"""

from asyncio import Future
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Link:
    """A link in code or layers, and what a room shows in its place."""

    name: str
    """Its path in the directory that has it."""
    targets: tuple[str, ...]
    """Paths without links: one file, or directories that are shown as one, later over earlier."""
    links: tuple["Link", ...] = ()
    """The links to follow in those directories."""


@dataclass(frozen=True, slots=True)
class MountNamespace:
    """The directories that a process sees in a mount namespace of its own."""

    code: str
    """Becomes /var/task, read-only."""
    layers: tuple[str, ...] = ()
    """Merged at /opt, later ones over earlier ones, read-only."""
    tmp_bytes: int = 512 * 1024 * 1024
    """Size of the tmpfs at /tmp."""
    keep: tuple[str, ...] = ()
    """What stays visible, read-only, below /tmp, /opt, /run, /var/run and /dev: what an interpreter
    needs, and what visible.py finds. What does not exist is left out."""
    code_links: tuple[Link, ...] = ()
    layer_links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How a process starts."""

    command: tuple[str, ...]
    """What is executed; empty: our own bootstrap in an interpreter that is there already."""
    environ: dict[str, str]
    """All variables, nothing is inherited."""
    directory: str
    """The working directory, as the process sees it."""
    room: MountNamespace | None = None
    """None: the process sees the machine's directories as they are."""
    cgroups: tuple[str, ...] = ()
    """Directories of control groups to enter, one per hierarchy."""
    data_bytes: int = 0
    """RLIMIT_DATA, 0 for none."""
    open_files: int = 1024
    """RLIMIT_NOFILE (lambda.md 1.8)."""
    processes: int = 0
    """RLIMIT_NPROC, 0 for none."""
    call_filter: str = ""
    """The program of call_filter.py in hexadecimal digits, empty for none."""


@dataclass(slots=True)
class Outlets:
    """The descriptors that a process writes to; the launcher duplicates them and closes none."""

    output: int
    """Becomes standard output and standard error."""
    log: int
    """Becomes `_LAMBDA_TELEMETRY_LOG_FD` (lambda.md 1.9)."""
    namespaces: tuple[int, ...] = field(default=())
    """User and mount namespace of an earlier process of the environment, to be entered instead of
    making new ones, so that /tmp survives a reset (lambda.md 1.10)."""


class LaunchedProcess(Protocol):
    """A running process and all that it started."""

    pid: int
    exited: Future[int]
    """The exit status as `subprocess` has it: negative for a signal."""

    def kill(self) -> None:
        """Send SIGKILL to the process and to whatever it started; does nothing when it is gone."""
        ...


class Launcher(Protocol):
    """Starts processes."""

    async def start(self, plan: Plan, outlets: Outlets) -> LaunchedProcess:
        """Start a process; raises LaunchFailed when it cannot be started at all."""
        ...


class LaunchFailed(Exception):
    """The process could not be started; the text says why, for `Runtime.InvalidEntrypoint`."""

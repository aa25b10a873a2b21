"""What all execution environments of one function version share, and how one is planned."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.interfaces import Clock, Sink
from gateway.core.invocation import LATEST
from gateway.core.logging_config import TEXT, LoggingConfig
from gateway.core.notices import LogStream
from gateway.runtime.confinement import Abilities
from gateway.runtime.environment_limits import EnvironmentLimits
from gateway.runtime.launch import Launcher, MountNamespace, Plan
from gateway.runtime.links import Links
from gateway.runtime.watch import Watch

INIT_SECONDS = 10.0
"""Limit of an init phase of its own (lambda.md 1.10)."""

TASK_ROOT = "/var/task"
MEGABYTE = 1024 * 1024
PROCESSES = 1024
"""Processes and threads of one environment, as AWS has it."""

DATA_FACTOR, DATA_SPARE_BYTES = 4, 512 * MEGABYTE
"""RLIMIT_DATA counts what is reserved, not what is used, so it is only there for the worst."""

NO_LINKS = Links()


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One function version, ready to be run."""

    launcher: Launcher
    abilities: Abilities
    clock: Clock
    sink: Sink | None
    draw: Callable[[int], str]
    stream: Callable[[], LogStream]
    """Returns a fresh log stream; its id is the environment's."""
    command: tuple[str, ...]
    """As in Plan."""
    variables: dict[str, str]
    """All but those of a single environment."""
    code: Path
    layers: tuple[Path, ...] = ()
    keep: tuple[str, ...] = ()
    """As in MountNamespace."""
    links: Links = NO_LINKS
    timeout_seconds: float = 3.0
    init_seconds: float = INIT_SECONDS
    memory_mb: int = 128
    ephemeral_storage_mb: int = 512
    version: str = LATEST
    layers_variable: str = ""
    """The variable that names the directories of modules in layers; empty where Python does not
    run the function."""
    explain: Callable[[str], str] = str
    """Adds to the reason of a failed init what helps."""
    tells_init: bool = True
    """Whether the operator is told of packages that an init ahead of invocations imports."""
    told_packages: set[str] = field(default_factory=set)
    """Packages that the operator has been told of."""
    logging: LoggingConfig = TEXT
    """The format of log tails; sinks have their own."""
    watch: Watch = field(default_factory=Watch)

    def limits(self, stream: LogStream) -> EnvironmentLimits:
        """Return the limits of a new environment."""
        return EnvironmentLimits(
            self.abilities,
            self.watch,
            marker=stream.name,
            memory_bytes=self.memory_mb * MEGABYTE,
            tmp_bytes=self.ephemeral_storage_mb * MEGABYTE,
            processes=PROCESSES,
        )

    def plan(self, stream: LogStream, address: str, log: int, limits: EnvironmentLimits) -> Plan:
        """Return how a process of an environment starts (lambda.md 1.7, 1.8)."""
        has_room = self.abilities.can_unshare
        root = TASK_ROOT if has_room else str(self.code)
        variables = {
            **self.variables,
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_LOG_GROUP_NAME": stream.group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream.name,
            "LAMBDA_TASK_ROOT": root,
            "PWD": root,
            "_LAMBDA_TELEMETRY_LOG_FD": str(log),
        }
        if self.layers_variable and self.layers_variable not in variables:
            roots = ["/opt"] if has_room else list(map(str, self.layers[::-1]))
            variables[self.layers_variable] = ":".join(self._search_path(roots))
        if not has_room:
            variables["TMPDIR"] = limits.tmp
        limits_memory = self.abilities.limits_memory
        data_bytes = 0 if limits_memory else self.memory_mb * MEGABYTE * DATA_FACTOR
        return Plan(
            tuple(self._placed(part, root) for part in self.command),
            variables,
            root,
            self._room() if has_room else None,
            limits.directories,
            data_bytes + DATA_SPARE_BYTES if data_bytes else 0,
            call_filter=self.abilities.call_filter,
        )

    def _search_path(self, roots: list[str]) -> list[str]:
        """Return where Python finds modules in layers (lambda.md 8)."""
        python = self.variables.get("AWS_EXECUTION_ENV", "").removeprefix("AWS_Lambda_")
        versioned = [f"{root}/python/lib/{python}/site-packages" for root in roots]
        return [*versioned, *(f"{root}/python" for root in roots)]

    def _placed(self, part: str, root: str) -> str:
        """Return a part of the command as the process sees it: an executable may be in a layer."""
        if root != TASK_ROOT:
            return part.replace(TASK_ROOT, root)
        layer = next((str(each) for each in self.layers if part.startswith(f"{each}/")), None)
        return part if layer is None else f"/opt{part.removeprefix(layer)}"

    def _room(self) -> MountNamespace:
        return MountNamespace(
            str(self.code),
            tuple(map(str, self.layers)),
            self.ephemeral_storage_mb * MEGABYTE,
            self.keep,
            self.links.code,
            self.links.layers,
        )

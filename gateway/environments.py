"""A function's settings into a pool of execution environments."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.config.settings import Function, Serving
from gateway.config.variables import environment_variables
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Clock, Sink
from gateway.core.log_names import group_name, stream_name
from gateway.core.notices import LogStream
from gateway.invokers.code import readable
from gateway.runtime import bootstrap_loop
from gateway.runtime.blueprint import TASK_ROOT, Blueprint
from gateway.runtime.confinement import Abilities, find_abilities
from gateway.runtime.environment import Environment
from gateway.runtime.fork_client import ForkServer, can_fork
from gateway.runtime.launch import Launcher, LaunchFailed, Plan
from gateway.runtime.leftovers import sweep
from gateway.runtime.pool import InitFailed, Pool, PoolSettings
from gateway.runtime.process import ProcessLauncher, interpreter_directories
from gateway.runtime.visible import HiddenPathHints, bound, needed
from gateway.telemetry.fanout import Fanout

LOOP = Path(bootstrap_loop.__file__)
PACKAGE = LOOP.parent.parent
OWN_RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
VERSION_OF = "import sys; print('python%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the handler."""

    command: tuple[str, ...]
    """Empty: our own bootstrap, forked."""
    execution_env: str
    """AWS_EXECUTION_ENV, empty for `provided`."""
    keep: tuple[str, ...] = ()
    """Directories that the interpreter needs."""


def runtime_of(function: Function) -> Runtime:
    """Return what runs a function; blocks, and raises InvalidSetting for what is not here."""
    if function.runtime.startswith("provided"):
        return Runtime(bootstrap_executable(function), "")
    python = interpreter(function)
    name = OWN_RUNTIME if python == sys.executable else version_of(python)
    if function.runtime_client == "awslambdaric":
        command: tuple[str, ...] = (python, "-m", "awslambdaric", function.handler)
    elif is_forked(function, python):
        command = ()
    else:
        command = (python, str(LOOP))
    wrapper = function.environment.get("AWS_LAMBDA_EXEC_WRAPPER")
    if wrapper:
        command = (wrapper, *(command or (python, str(LOOP))))
    try:
        keep = (*interpreter_directories(python), str(PACKAGE.parent))
    except LaunchFailed as error:
        raise InvalidSetting(f"--python {error}") from error
    return Runtime(command, f"AWS_Lambda_{name}", keep)


def is_forked(function: Function, python: str) -> bool:
    """Say whether our bootstrap need not be executed: nothing acts when a process is executed."""
    has_libraries = any((place / "lib").is_dir() for place in (function.code, *function.layers))
    has_wrapper = "AWS_LAMBDA_EXEC_WRAPPER" in function.environment
    plan = Plan((), {}, "")
    return not has_libraries and not has_wrapper and can_fork(plan, python, function.environment)


def bootstrap_executable(function: Function) -> tuple[str, ...]:
    """Return the command of an OS-only runtime: from the code, else from a layer (lambda.md
    1.8)."""
    for layer in function.layers[::-1]:
        if (layer / "bootstrap").exists() and not (function.code / "bootstrap").exists():
            return (str(layer.resolve() / "bootstrap"),)
    return (f"{TASK_ROOT}/bootstrap",)


def interpreter(function: Function) -> str:
    """Return the path of the Python interpreter; raises InvalidSetting when there is none."""
    if function.python:
        found = shutil.which(function.python)
        if found is None:
            raise InvalidSetting(f"--python {function.python}: there is no such interpreter")
        return str(Path(found).absolute())
    if function.runtime in {"", OWN_RUNTIME}:
        return sys.executable
    found = shutil.which(function.runtime) if function.runtime.startswith("python3.") else None
    if found is None:
        raise InvalidSetting(
            f"--runtime {function.runtime}: no {function.runtime} on the PATH; name an interpreter "
            "with --python, or put an executable called bootstrap into the code and use "
            "--runtime provided.al2023"
        )
    return found


def version_of(python: str) -> str:
    """Return the runtime's name of an interpreter; raises InvalidSetting when it does not run."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator named it
            [python, "-c", VERSION_OF], capture_output=True, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise InvalidSetting(f"--python {python}: {error}") from error
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Running:
    """A function that can be invoked, and made anew."""

    pool: Pool
    make: Callable[[Callable[[Environment], None]], Environment]
    isolation: str
    """What is isolated on this machine, in a line."""

    async def replace(self) -> str:
        """Move to new environments; returns what went wrong with the new code, or nothing."""
        try:
            await self.pool.replace(self.make)
        except InitFailed as failure:
            return str(failure)
        return ""


@asynccontextmanager
async def running(
    serving: Serving, sink: Sink | None, clock: Clock, draw: Callable[[int], str]
) -> AsyncIterator[Running]:
    """Run the pool of a function; one environment is started ahead to see that its code loads.

    Raises InvalidSetting when it does not, unless the code is watched for changes.
    """
    function = serving.function
    await asyncio.to_thread(readable, function.code)
    runtime = await asyncio.to_thread(runtime_of, function)
    keep = await asyncio.to_thread(interpreter_directories)
    abilities = await asyncio.to_thread(find_abilities, keep)
    await asyncio.to_thread(sweep, abilities)
    async with AsyncExitStack() as stack:
        launcher: Launcher = ProcessLauncher()
        if not runtime.command:
            launcher = await stack.enter_async_context(ForkServer())
        blueprint = blueprint_of(function, runtime, abilities, launcher, sink, clock, draw)
        make = partial(Environment, blueprint)
        pool = Pool(make, pool_settings(serving), clock=clock, sink=sink or Fanout([]))
        found = Running(await stack.enter_async_context(pool), make, str(abilities))
        failure = await found.replace()
        if failure and not serving.is_reloading:
            raise InvalidSetting(failure)
        yield found


def pool_settings(serving: Serving) -> PoolSettings:
    """Return how many environments there may be."""
    return PoolSettings(
        serving.most_concurrent(),
        serving.queue_timeout_seconds,
        serving.idle_environment_seconds,
        serving.min_environments,
    )


def blueprint_of(  # noqa: PLR0913, PLR0917 - what compose brings together
    function: Function,
    runtime: Runtime,
    abilities: Abilities,
    launcher: Launcher,
    sink: Sink | None,
    clock: Clock,
    draw: Callable[[int], str],
) -> Blueprint:
    """Return what all environments of a function share."""
    name = function.completed_name()
    arn = function.reference().arn
    variables = environment_variables(function, os.environ, execution_env=runtime.execution_env)
    config = function.logging
    group = group_name(name, config.log_group)
    is_custom = bool(config.log_group)
    keep = (*runtime.keep, *needed(variables), *bound(function.binds))
    if sink is not None and abilities.can_unshare:
        sink = HiddenPathHints(sink, keep)

    def stream() -> LogStream:
        identity = draw(32)
        log = stream_name(name, "$LATEST", identity, clock.now(), is_custom_group=is_custom)
        version = runtime.execution_env.removeprefix("AWS_Lambda_").replace("python", "python:")
        memory = function.memory_mb
        return LogStream(group, log, name, "$LATEST", identity, version, memory, arn)

    return Blueprint(
        launcher,
        abilities,
        clock,
        sink,
        draw,
        stream,
        runtime.command,
        variables,
        function.code.resolve(),
        tuple(layer.resolve() for layer in function.layers),
        keep,
        function.timeout_seconds,
        memory_mb=function.memory_mb,
        ephemeral_storage_mb=function.ephemeral_storage_mb,
        logging=config,
    )

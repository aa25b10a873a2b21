"""A function's settings into a pool of execution environments."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from gateway.config.function import Execution, Function
from gateway.config.process import Process
from gateway.config.variables import environment_variables
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Clock, Invoker, Sink
from gateway.core.invocation import LATEST
from gateway.core.log_names import group_name, stream_name
from gateway.core.notices import LogStream, OperatorWarning
from gateway.invokers.code import readable
from gateway.invokers.wrappers import ConcurrencyCap
from gateway.runtime import child
from gateway.runtime.blueprint import TASK_ROOT, Blueprint
from gateway.runtime.child.packages import SHIPPED, STRICT
from gateway.runtime.child.search import LAYERS, loaded_on_lambda
from gateway.runtime.confinement import Abilities, find_abilities
from gateway.runtime.environment import ProcessEnvironment
from gateway.runtime.fork_client import ForkServer, can_fork
from gateway.runtime.interpreter import Interpreter, check_version, chosen, own
from gateway.runtime.launch import Launcher, Plan
from gateway.runtime.leases import LeaseLimits, LeaseQueue, VersionLeases
from gateway.runtime.leftovers import sweep
from gateway.runtime.links import find_links
from gateway.runtime.pool import Pool, PoolSettings
from gateway.runtime.process import ProcessLauncher
from gateway.runtime.slots import InitFailed
from gateway.runtime.visible import HiddenPathHints, bound, needed
from gateway.telemetry.fanout import Fanout
from gateway.telemetry.writer import to_stderr

MAIN = Path(child.__file__).with_name("__main__.py")
PACKAGE = MAIN.parents[2]
NO_MODULE = re.compile(r"No module named '(\w+)")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the handler."""

    command: tuple[str, ...]
    """Empty: our own bootstrap, forked."""
    execution_env: str
    """AWS_EXECUTION_ENV, empty for `provided`."""
    keep: tuple[str, ...] = ()
    """Directories that have to stay visible."""
    interpreter: Interpreter | None = None
    """None where no Python of this machine runs the handler."""


def runtime_of(function: Function) -> Runtime:
    """Return what runs a function; blocks, and raises InvalidSetting for what is not here."""
    if function.runtime.startswith("provided"):
        refuse_python_options(function)
        return Runtime(bootstrap_executable(function), "")
    interpreter = chosen(function.python, function.runtime, function.code)
    python, executed = interpreter.path, (interpreter.path, str(MAIN))
    if function.runtime_client == "awslambdaric":
        command: tuple[str, ...] = (python, "-m", "awslambdaric", function.handler)
    else:
        check_version(interpreter)
        command = () if is_forked(function, python) else executed
    wrapper = function.environment.get("AWS_LAMBDA_EXEC_WRAPPER")
    if wrapper:
        command = (wrapper, *(command or executed))
    keep = (*interpreter.keep, str(PACKAGE.parent))
    return Runtime(command, f"AWS_Lambda_{interpreter.runtime}", keep, interpreter)


def refuse_python_options(function: Function) -> None:
    """Raise InvalidSetting for options that mean nothing where no Python is chosen."""
    given = {"--python": function.python, "--strict-packages": function.strict_packages}
    for option in (name for name, value in given.items() if value):
        raise InvalidSetting(
            f"{option} is for Python runtimes; --runtime {function.runtime} executes a bootstrap"
        )


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


def explained(failure: str, function: Function, interpreter: Interpreter | None) -> str:
    """Return why an init failed, with what helps against modules that are missing or hidden."""
    if interpreter is None or "--strict-packages" in failure:
        return failure
    if missing := NO_MODULE.search(failure):
        return f"{failure} ({searched(missing[1], function, interpreter)})"
    top = function.handler.replace("/", ".").partition(".")[0]
    if "missing on module" in failure and top in loaded_on_lambda(interpreter.version[:2]):
        return (
            f"{failure} ({top} is a module of Python's that Lambda's runtime has loaded before: "
            f"rename {top}.py)"
        )
    return failure


def searched(name: str, function: Function, interpreter: Interpreter) -> str:
    """Say where a module was looked for, and how it is found."""
    installed = (path for path in interpreter.search_path if path.endswith("-packages"))
    layers = (str(layer / "python") for layer in function.layers)
    places = ", ".join((str(function.code.resolve()), *layers, *installed))
    shipped = name in SHIPPED.get(interpreter.version[:2], ())
    advice = f"AWS's runtime has {name}, install it here" if shipped else "see --python and --code"
    return f"{interpreter}; searched {places}; {advice}"


class Maker:
    """Makes environments of a function, with its links followed as they were at the last look."""

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def __call__(self, on_free: Callable[[ProcessEnvironment], None]) -> ProcessEnvironment:
        """Make an environment."""
        return ProcessEnvironment(self._blueprint, on_free)

    async def look(self) -> None:
        """Find what links in code and layers lead to, and say which are not followed."""
        blueprint = self._blueprint
        if not blueprint.abilities.can_unshare:
            return  # everything is where it is
        layers = tuple(map(str, blueprint.layers))
        code = str(blueprint.code)
        links = await asyncio.to_thread(find_links, code, layers, blueprint.keep)
        self._blueprint = replace(blueprint, links=links)
        for line in links.refused:
            if blueprint.sink is not None:
                blueprint.sink.emit(OperatorWarning(line))


@dataclass(slots=True)
class Running:
    """A function that can be invoked, and replaced."""

    invoker: Invoker
    pool: Pool
    """What is behind the invoker; an invocation of its own would have no lease."""
    remake: Callable[[Function], Awaitable["Maker"]]
    """Reads what the function is made of: variables, runtime, links; raises InvalidSetting."""
    isolation: str
    """What is isolated on this machine, in a line, and in another which Python that is not the
    gateway's runs the function."""
    has_code: bool = False
    """Whether its code could be loaded, now or before."""
    explain: Callable[[str], str] = str
    """Says more about why a handler was not found."""

    async def replace(self, function: Function) -> str:
        """Read everything again and move to new environments; returns what went wrong, or
        nothing."""
        try:
            make = await self.remake(function)
        except InvalidSetting as error:
            return str(error)
        return await self.move_to(make)

    async def move_to(self, make: "Maker") -> str:
        """Move to new environments; returns what went wrong with the new code, or nothing."""
        try:
            await self.pool.replace(make)
        except InitFailed as failure:
            return str(failure)
        self.has_code = True
        return ""


class Launchers:
    """What starts processes: a fork server as soon as there is a function that can be forked."""

    def __init__(self, stack: AsyncExitStack) -> None:
        """Take what ends the fork server."""
        self._stack = stack
        self._forks: ForkServer | None = None

    async def of(self, runtime: Runtime) -> Launcher:
        """Return the launcher of a runtime."""
        if runtime.command:
            return ProcessLauncher()
        if self._forks is None:
            self._forks = await self._stack.enter_async_context(ForkServer())
        return self._forks


@asynccontextmanager
async def running(
    function: Function,
    process: Process,
    sink: Sink | None,
    clock: Clock,
    draw: Callable[[int], str],
) -> AsyncIterator[Running]:
    """Run the pool of a function, with an environment or the minimum of them started ahead.

    Raises InvalidSetting when the handler cannot be found, unless the code is watched for changes.
    Any other failure of the init is a warning: the first invocation runs it again (lambda.md 1.10).
    """
    async with prepared(function, process, sink, clock, draw) as found:
        failure = await found.pool.start()
        found.has_code = failure is None
        if failure is not None:
            judge(failure, function, sink, is_reloading=process.is_reloading)
        yield found


@asynccontextmanager
async def prepared(
    function: Function,
    process: Process,
    sink: Sink | None,
    clock: Clock,
    draw: Callable[[int], str],
) -> AsyncIterator[Running]:
    """Run the pool of a function; the first invocation starts the first environment."""
    await asyncio.to_thread(readable, function.code)
    runtime = await asyncio.to_thread(runtime_of, function)
    gateways = await asyncio.to_thread(own)
    abilities = await asyncio.to_thread(find_abilities, gateways.keep)
    await asyncio.to_thread(sweep, abilities)
    async with AsyncExitStack() as ended_last, AsyncExitStack() as stack:
        launchers = Launchers(ended_last)

        async def made(function: Function, runtime: Runtime) -> Maker:
            launcher = await launchers.of(runtime)
            blueprint = blueprint_of(function, runtime, abilities, launcher, sink, clock, draw)
            # The first worker has told what the others import, too.
            blueprint = replace(blueprint, tells_init=process.worker == 0)
            maker = Maker(blueprint)
            await maker.look()
            return maker

        async def remade(function: Function) -> Maker:
            fresh = await asyncio.to_thread(function.read_again)
            return await made(fresh, await asyncio.to_thread(runtime_of, fresh))

        make = await made(function, runtime)
        told, version = sink or Fanout([]), function.completed_name()
        leases = VersionLeases(
            {version: LeaseQueue(lease_limits(function.execution), told, busy(function.execution))}
        )
        pool = Pool(
            make,
            pool_settings(function.execution),
            version=version,
            leases=leases,
            clock=clock,
            sink=told,
        )
        said = [str(abilities)]
        if runtime.interpreter is not None and runtime.interpreter.source:
            said.append(str(runtime.interpreter))
        if runtime.interpreter is not None and runtime.interpreter.note and sink is not None:
            sink.emit(OperatorWarning(runtime.interpreter.note))
        await stack.enter_async_context(pool)
        stack.callback(leases.end)
        explain = partial(explained, function=function, interpreter=runtime.interpreter)
        invoker = ConcurrencyCap(pool, leases, version)
        yield Running(invoker, pool, remade, "\n".join(said), explain=explain)


def judge(
    failure: InitFailed, function: Function, sink: Sink | None, *, is_reloading: bool
) -> None:
    """Refuse to serve code whose init has failed, or warn."""
    is_refused = failure.is_lasting and not is_reloading
    if is_refused or function.execution.requires_init:
        raise InvalidSetting(str(failure))
    warn_of_init(str(failure), sink)


def warn_of_init(failure: str, sink: Sink | None) -> None:
    """Say that the function could not be initialised at the start, and what follows."""
    text = f"init failed: {failure}; it is run again inside the next invocation"
    if sink is None:
        to_stderr(f"gateway: {text}")
    else:
        sink.emit(OperatorWarning(text))


def lease_limits(execution: Execution) -> LeaseLimits:
    """Return how many invocations may run at once, and how long others wait."""
    return LeaseLimits(execution.most_concurrent(), execution.queue_timeout_seconds)


def busy(execution: Execution) -> str:
    """Return what a refusal says when all leases are taken."""
    return (
        f"all {execution.most_concurrent()} execution environments are busy; raise --concurrency, "
        "or let invocations wait with --queue-timeout"
    )


def pool_settings(execution: Execution) -> PoolSettings:
    """Return how many environments there may be."""
    return PoolSettings(
        execution.most_concurrent(),
        execution.idle_environment_seconds,
        execution.min_environments,
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
    is_awss = function.runtime_client == "awslambdaric"
    if is_awss and function.strict_packages:
        raise InvalidSetting("--strict-packages needs the gateway's own --runtime-client")
    variables = environment_variables(function, os.environ, execution_env=runtime.execution_env)
    if function.strict_packages:
        variables[STRICT] = "1"
    layers_variable = "PYTHONPATH" if is_awss else LAYERS
    config = function.logging
    group = group_name(name, config.log_group)
    is_custom = bool(config.log_group)
    keep = (*runtime.keep, *needed(variables), *bound(function.binds))
    if sink is not None and abilities.can_unshare:
        sink = HiddenPathHints(sink, keep)

    def stream() -> LogStream:
        identity = draw(32)
        log = stream_name(name, LATEST, identity, clock.now(), is_custom_group=is_custom)
        version = runtime.execution_env.removeprefix("AWS_Lambda_").replace("python", "python:")
        memory = function.memory_mb
        return LogStream(group, log, name, LATEST, identity, version, memory, arn)

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
        timeout_seconds=function.timeout_seconds,
        memory_mb=function.memory_mb,
        ephemeral_storage_mb=function.ephemeral_storage_mb,
        layers_variable=layers_variable if runtime.interpreter else "",
        explain=partial(explained, function=function, interpreter=runtime.interpreter),
        logging=config,
    )

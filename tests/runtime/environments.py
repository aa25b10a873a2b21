"""Environments with real processes of our bootstrap, or of a test that plays the runtime."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.core.invocation import (
    FunctionRef,
    Invocation,
    InvocationResult,
    LogType,
    request_id,
)
from gateway.core.logging_config import TEXT, LoggingConfig
from gateway.core.notices import (
    InitReported,
    InitStarted,
    InvocationReported,
    LogEntry,
    LogStream,
    Notice,
)
from gateway.runtime import child
from gateway.runtime.blueprint import Blueprint
from gateway.runtime.confinement import Abilities
from gateway.runtime.environment import ProcessEnvironment
from gateway.runtime.launch import LaunchFailed, Outlets, Plan
from gateway.telemetry.system import HexDraws, SystemClock
from tests.runtime.api_client import NEXT, PATIENCE_SECONDS, Answer, Client, until

ARN = "arn:aws:lambda:eu-west-1:111122223333:function:shop"
OURS = (sys.executable, str(Path(child.__file__).with_name("__main__.py")))
ECHO = "def handler(event, context):\n    print('seen', event)\n    return event\n"
AWSS = (sys.executable, "-m", "awslambdaric", "app.handler")


class Child:
    """A process and its end."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        loop = asyncio.get_running_loop()
        self._popen = popen
        self.pid = popen.pid
        self.exited: asyncio.Future[int] = loop.create_future()

        def wait() -> None:
            status = popen.wait()
            loop.call_soon_threadsafe(self.exited.set_result, status)

        threading.Thread(target=wait, daemon=True).start()

    def kill(self) -> None:
        self._popen.kill()


class Launcher:
    """Starts processes of the plan, as they are."""

    def __init__(self) -> None:
        self.children: list[Child] = []

    async def start(self, plan: Plan, outlets: Outlets) -> Child:
        try:
            popen = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here meanwhile
                plan.command,
                env=plan.environ,
                cwd=plan.directory,
                stdout=outlets.output,
                stderr=outlets.output,
                pass_fds=[outlets.log],
                start_new_session=True,
            )
        except OSError as error:
            raise LaunchFailed(str(error)) from error
        self.children.append(Child(popen))
        return self.children[-1]


class Puppet:
    """A process that is played by the test."""

    def __init__(self) -> None:
        self.pid = 2**22 + 1  # above the kernel's limit for process ids
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        self.exit(-9)

    def exit(self, status: int) -> None:
        if not self.exited.done():
            self.exited.set_result(status)


class PuppetLauncher:
    """Starts nothing; the test speaks to the address of the plan."""

    def __init__(self) -> None:
        self.children: list[Puppet] = []
        self.address = ""
        self.failure: Exception | None = None

    async def start(self, plan: Plan, outlets: Outlets) -> Puppet:
        if self.failure is not None:
            raise self.failure
        assert all(child.exited.done() for child in self.children), "one process at a time"
        self.address = plan.environ["AWS_LAMBDA_RUNTIME_API"]
        self.output = outlets.output
        self.children.append(Puppet())
        return self.children[-1]


class World:
    """An environment, what it reports to, and what it needs."""

    def __init__(
        self,
        launcher: Any,
        code: Path,
        *,
        command: tuple[str, ...] = OURS,
        variables: dict[str, str] | None = None,
        timeout_seconds: float = 3.0,
        init_seconds: float = 10.0,
        logging: LoggingConfig = TEXT,
        has_sink: bool = True,
    ) -> None:
        self.notices: list[Notice] = []
        self.freed = 0
        self._freed = asyncio.Event()
        self._draw = HexDraws()
        stream = LogStream("g", f"s{self._draw(16)}", "shop", "7", "e", "", 128)
        own = {
            "PATH": os.environ["PATH"],
            "_HANDLER": "app.handler",
            "AWS_LAMBDA_FUNCTION_NAME": "shop",
            "AWS_LAMBDA_FUNCTION_VERSION": "7",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "g",
        }
        blueprint = Blueprint(
            launcher,
            Abilities(),
            SystemClock(),
            self if has_sink else None,
            self._draw,
            lambda: stream,
            command,
            own | (variables or {}),
            code,
            timeout_seconds=timeout_seconds,
            init_seconds=init_seconds,
            logging=logging,
        )
        self.launcher = launcher
        self.environment = ProcessEnvironment(blueprint, self._free)

    def emit(self, notice: Notice, /) -> None:
        self.notices.append(notice)

    def _free(self, _environment: ProcessEnvironment) -> None:
        self.freed += 1
        self._freed.set()

    def start(
        self,
        payload: bytes = b"{}",
        context: str = "",
        trace_id: str = "",
        log_type: LogType = LogType.NONE,
    ) -> "asyncio.Future[InvocationResult]":
        self._freed.clear()
        function = FunctionRef("shop", "", ARN)
        invocation = Invocation(request_id(self._draw(32)), function, payload)
        invocation.client_context, invocation.trace_id = context, trace_id
        invocation.log_type = log_type
        self.request_id = invocation.request_id
        return self.environment.invoke(invocation)

    async def call(self, payload: bytes = b"{}", **details: Any) -> InvocationResult:
        """Invoke and wait until the environment is free again."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await self.start(payload, **details)
            await self._freed.wait()
        return result

    async def free(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._freed.wait()

    def reports(self) -> list[InvocationReported]:
        return [it for it in self.notices if isinstance(it, InvocationReported)]

    def inits(self) -> list[tuple[str, str, str]]:
        inits = [it for it in self.notices if isinstance(it, InitReported)]
        return [(it.phase, it.status, it.error_type) for it in inits]

    def init_entries(self) -> list[LogEntry]:
        inits = [it for it in self.notices if isinstance(it, InitReported)]
        return [entry for init in inits for entry in init.entries]

    def order(self) -> list[str]:
        kinds = {InitStarted: "start", InitReported: "init", InvocationReported: "end"}
        return [kinds[type(it)] for it in self.notices]  # type: ignore[index]


@asynccontextmanager
async def world(launcher: Any, code: Path, **settings: Any) -> AsyncIterator[World]:
    """Make an environment; it is closed at the end, and then nothing of it is left."""
    descriptors, tasks = descriptor_count(), len(asyncio.all_tasks())
    it = World(launcher, code, **settings)
    try:
        yield it
    finally:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await it.environment.close()
    assert len(asyncio.all_tasks()) == tasks
    assert all(child.exited.done() for child in launcher.children)
    await until(lambda: descriptor_count() <= descriptors)  # transports close a turn later


def descriptor_count() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def write(directory: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (directory / f"{name}.py").write_text(text)
    return directory


async def begin(it: World, client: Client) -> str:
    """Poll as a runtime; return the request id that came."""
    answer = await client.ask(NEXT)
    assert answer.status == 200, answer
    return answer.headers["Lambda-Runtime-Aws-Request-Id"]


async def listening(it: World, children: int = 1) -> str:
    """Wait for the process with that number; return the address of the Runtime API."""
    await until(lambda: len(it.launcher.children) == children)
    return it.launcher.address


def said(answer: Answer) -> tuple[int, str]:
    """Return status and type of an error of the Runtime API."""
    return answer.status, json.loads(answer.body)["errorType"]


def error_type(payload: bytes) -> str:
    return str(json.loads(payload)["errorType"])

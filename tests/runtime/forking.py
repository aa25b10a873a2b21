"""A fork server whose children run the Python code in their variable SCRIPT."""

import asyncio
import os
import shutil
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.runtime import child
from gateway.runtime.fork_client import ForkedProcess, ForkServer
from gateway.runtime.launch import Outlets, Plan

PATIENCE_SECONDS = 20.0

LOOP = """
import os
from . import search

def preload():
    pass

def main():
    script = os.environ.pop("SCRIPT")
    if "LAMBDA_TASK_ROOT" in os.environ:
        search.arrange()
    exec(script, {})
"""

SANDBOX = """
import os

def enter(plan, namespaces):
    if plan["room"] is not None:
        raise OSError("there is no such room")
    if namespaces:
        os.environ["MET"] = str([os.fstat(namespace).st_ino for namespace in namespaces])
    os.chdir(plan["directory"])
"""


def plan_of(script: str, **variables: str) -> Plan:
    """Return a plan for the script."""
    return Plan((), {"SCRIPT": textwrap.dedent(script), **variables}, "/")


@dataclass
class Run:
    """A child, and what it has written so far."""

    process: ForkedProcess
    output: int
    log: int
    written: str = ""

    async def line(self) -> str:
        """Return the next line that it writes."""
        while "\n" not in self.written:
            data = await read_some(self.output)
            assert data, f"it has ended, after {self.written!r}"
            self.written += data.decode()
        line, _, self.written = self.written.partition("\n")
        return line

    async def end(self) -> tuple[int, str]:
        """Return its exit status and the rest of what it has written."""
        while data := await read_some(self.output):
            self.written += data.decode()
        return await asyncio.wait_for(self.process.exited, PATIENCE_SECONDS), self.written


@dataclass
class Forks:
    """The server and everything to be closed after a test."""

    server: ForkServer
    code: Path
    pipes: list[int] = field(default_factory=list)

    async def begin(self, script: str, plan: Plan | None = None, **variables: str) -> Run:
        """Start a child for the script; `plan` says what is not as usual."""
        ours = plan_of(script, **variables)
        plan = ours if plan is None else replace(plan, environ={**plan.environ, **ours.environ})
        output, its_output = os.pipe()
        log, its_log = os.pipe()
        self.pipes += [output, log]
        try:
            process = await self.server.start(plan, Outlets(its_output, its_log))
        finally:
            os.close(its_output)
            os.close(its_log)
        return Run(process, output, log)

    async def run(self, script: str, **variables: str) -> tuple[int, str]:
        """Return the exit status and the output of a child that runs the script."""
        return await (await self.begin(script, **variables)).end()

    async def answer(self, script: str, **variables: str) -> Any:
        """Return what the script, an expression after statements, comes to."""
        *statements, expression = textwrap.dedent(script).strip().split("\n")
        status, text = await self.run(
            "\n".join([*statements, f"print(ascii({expression}))"]), **variables
        )
        assert status == 0, text
        return eval(text)


def stub_files(directory: Path) -> tuple[Path, Path]:
    """Write a runtime loop and a sandbox that do what the scripts of tests need."""
    shutil.copytree(Path(child.__file__).parent, directory)
    (directory / "bootstrap_loop.py").write_text(LOOP)
    (directory / "sandbox.py").write_text(SANDBOX)
    return directory, directory / "sandbox.py"


@asynccontextmanager
async def forking(directory: Path, **options: Any) -> AsyncIterator[Forks]:
    """Provide a server, end it, and see that everything it has forked is gone."""
    stubs, sandbox = stub_files(directory / "stubs")
    code = directory / "code"
    code.mkdir()
    async with ForkServer(sandbox=sandbox, child=stubs, **options) as server:
        forks = Forks(server, code)
        try:
            yield forks
        finally:
            for descriptor in forks.pipes:
                os.close(descriptor)


async def read_some(descriptor: int) -> bytes:
    """Return what comes next, empty at the end."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), PATIENCE_SECONDS)
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 65536)


def is_running(pid: int) -> bool:
    """Say whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    turn = asyncio.Event()
    while not condition():
        assert loop.time() < deadline
        loop.call_later(0.005, turn.set)
        await turn.wait()
        turn.clear()

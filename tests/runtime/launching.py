"""Real processes under real confinement, for the tests of process, sandbox and confinement."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO

import pytest

from gateway.runtime.confinement import Abilities, find_abilities
from gateway.runtime.control_groups import Hierarchy
from gateway.runtime.interpreter import own
from gateway.runtime.launch import MountNamespace, Outlets, Plan
from gateway.runtime.process import ChildProcess, ProcessLauncher

PATIENCE_SECONDS = 10.0


@cache
def keep() -> tuple[str, ...]:
    return own().keep


@cache
def abilities() -> Abilities:
    return find_abilities(keep())


def need_room() -> None:
    if not abilities().can_unshare:
        pytest.skip("this machine lets no process unshare user and mount namespaces")


def need_memory_group() -> None:
    if not abilities().limits_memory:
        pytest.skip("no control group that limits memory can be made here")


def python_plan(code: str, environ: dict[str, str] | None = None) -> Plan:
    """Run Python code, without a room."""
    command = (sys.executable, "-I", "-S", "-c", code)
    return Plan(command, environ=environ or {}, directory="/")


def room_plan(code: str, task: Path, *layers: Path, tmp_bytes: int = 65536) -> Plan:
    """Run Python code in a room; skips where that is not possible."""
    need_room()
    names = tuple(str(layer) for layer in layers)
    room = MountNamespace(str(task), layers=names, tmp_bytes=tmp_bytes, keep=keep())
    return replace(python_plan(code), directory="/var/task", room=room)


@dataclass
class Launched:
    """A process and what it has written."""

    process: ChildProcess
    output: IO[bytes]
    log: int

    def text(self) -> str:
        return os.pread(self.output.fileno(), 1_000_000, 0).decode()


@asynccontextmanager
async def launched(plan: Plan, namespaces: tuple[int, ...] = ()) -> AsyncIterator[Launched]:
    """Start a process; it is gone at the end."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        outlets = Outlets(output.fileno(), log.fileno(), namespaces)
        process = await ProcessLauncher().start(plan, outlets)
        try:
            yield Launched(process, output, log.fileno())
        finally:
            process.kill()
            await asyncio.wait_for(asyncio.shield(process.exited), PATIENCE_SECONDS)


async def run(plan: Plan, namespaces: tuple[int, ...] = ()) -> tuple[int, str]:
    """Run a process to its end; return its status and output."""
    async with launched(plan, namespaces) as it:
        status = await asyncio.wait_for(asyncio.shield(it.process.exited), PATIENCE_SECONDS)
        return status, it.text().strip()


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds, or fail."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline
        turn = loop.create_future()
        loop.call_later(0.002, turn.set_result, None)
        await turn


def is_any_there(paths: Iterable[str]) -> bool:
    return any(os.path.lexists(path) for path in paths)


@contextmanager
def nowhere() -> Iterator[Outlets]:
    """Give outlets that lead nowhere."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    try:
        yield Outlets(descriptor, descriptor)
    finally:
        os.close(descriptor)


def carriers(marker: str) -> list[int]:
    """Return the processes that have a marker among their variables or arguments."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (directory / "environ").read_bytes() + (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in text:
            found.append(int(directory.name))
    return found


def a_hierarchy(directory: Path, *controllers: str, version: int = 2) -> Hierarchy:
    """Return what stands for a hierarchy of control groups."""
    return Hierarchy(str(directory), version, frozenset(controllers))

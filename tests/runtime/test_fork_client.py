"""The gateway's side of the fork server: requests, replies, and a server that dies."""

import asyncio
import errno
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.runtime.fork_client import ForkServer, can_fork
from gateway.runtime.launch import LaunchFailed, Outlets, Plan
from tests.runtime.forking import (
    PATIENCE_SECONDS,
    Forks,
    forking,
    is_running,
    plan_of,
    read_some,
    stub_files,
    until,
)

FORKED = Plan((), {"PYTHONPATH": "/var/runtime", "LD_LIBRARY_PATH": "/lib64"}, "/")
WAIT = "import signal\nprint('ready', flush=True)\nsignal.pause()"

real_processes = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="children of macOS are executed"),
]


@pytest.mark.parametrize("name", ["HOME", "LOCALE", "LDAP", "MALLOCATE", "MY_PYTHONPATH"])
def test_plan_of_the_gateways_interpreter_is_forked(name: str) -> None:
    assert can_fork(FORKED, sys.executable, [name], platform="linux")


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "PYTHONPATH",
        "PYTHONHOME",
        "MALLOC_ARENA_MAX",
        "GLIBC_TUNABLES",
        "OPENSSL_CONF",
        "LANG",
        "LC_ALL",
    ],
)
def test_variable_of_the_function_that_acts_at_exec_prevents_a_fork(name: str) -> None:
    assert not can_fork(FORKED, sys.executable, ["HOME", name], platform="linux")


def test_command_and_other_interpreters_are_not_forked() -> None:
    command = Plan(("/bin/true",), {}, "/")

    assert not can_fork(command, sys.executable, [], platform="linux")
    assert not can_fork(FORKED, "/usr/bin/another-python", [], platform="linux")


def test_macos_forks_only_when_asked() -> None:
    assert not can_fork(FORKED, sys.executable, [], platform="darwin")
    assert can_fork(FORKED, sys.executable, [], platform="darwin", is_asked=True)


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    async with forking(tmp_path) as made:
        yield made


@pytest.fixture
def outlet() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def open_descriptors() -> list[str]:
    """Return what this process has open."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


class TestServer:
    """With a server and children that are real."""

    pytestmark = real_processes

    async def test_environments_of_a_dead_server_are_killed_and_the_next_start_works(
        self, forks: Forks
    ) -> None:
        runs = [await forks.begin(WAIT) for _ in range(2)]
        first = forks.server.pid or 0
        os.kill(first, signal.SIGKILL)

        for run in runs:
            assert await asyncio.wait_for(run.process.exited, 5) == -9
        assert await forks.run("print(1)") == (0, "1\n")
        assert forks.server.pid not in {None, first}

    async def test_start_that_the_server_does_not_survive_is_tried_again(
        self, forks: Forks, outlet: int
    ) -> None:
        await forks.run("")
        first = forks.server.pid or 0
        os.kill(first, signal.SIGSTOP)
        start = forks.server.start(plan_of("import os; os._exit(4)"), Outlets(outlet, outlet))
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(start)
            asyncio.get_running_loop().call_later(0.05, os.kill, first, signal.SIGKILL)

        assert await starting.result().exited == 4

    async def test_server_that_cannot_start_is_a_failed_launch(
        self, tmp_path: Path, outlet: int
    ) -> None:
        _, sandbox = stub_files(tmp_path / "stubs")
        async with ForkServer(sandbox=sandbox, child=tmp_path) as server:
            with pytest.raises(LaunchFailed, match="the fork server has ended"):
                await server.start(plan_of(""), Outlets(outlet, outlet))

    async def test_closed_server_starts_nothing(self, tmp_path: Path, outlet: int) -> None:
        async with forking(tmp_path) as forks:
            await forks.run("")
            server = forks.server

        assert server.pid is None
        with pytest.raises(LaunchFailed, match="closed"):
            await server.start(plan_of(""), Outlets(outlet, outlet))

    async def test_start_without_a_waiter_is_killed(self, forks: Forks) -> None:
        await forks.run("")
        pids: list[int] = []
        output, its_output = os.pipe()
        pid = forks.server.pid or 0
        os.kill(pid, signal.SIGSTOP)
        plan = plan_of("import os, signal\nprint(os.getpid(), flush=True)\nsignal.pause()")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await forks.server.start(plan, Outlets(its_output, its_output))
        os.close(its_output)
        os.kill(pid, signal.SIGCONT)
        try:
            while written := await read_some(output):
                pids.append(int(written))
        finally:
            os.close(output)

        await until(lambda: not any(map(is_running, pids)), 2)
        assert await forks.run("print(1)") == (0, "1\n")

    async def test_start_that_is_cancelled_in_the_moment_of_its_reply_is_killed(
        self, forks: Forks, outlet: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await forks.run("")
        connection = type(forks.server._connection)
        request = connection.request
        replies = []

        def cancelling(*arguments: Any) -> Any:
            reply = request(*arguments)
            reply.add_done_callback(lambda _: starting.cancel())
            replies.append(reply)
            return reply

        monkeypatch.setattr(connection, "request", cancelling)
        start = forks.server.start(plan_of(WAIT), Outlets(outlet, outlet))
        starting = asyncio.get_running_loop().create_task(start)
        await asyncio.wait([starting])

        assert starting.cancelled()
        assert await asyncio.wait_for(replies[0].result().exited, PATIENCE_SECONDS) == -9

    async def test_server_that_reads_nothing_keeps_no_caller_waiting(
        self, forks: Forks, outlet: int
    ) -> None:
        await forks.run("")
        pid = forks.server.pid or 0
        os.kill(pid, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, os.kill, pid, signal.SIGCONT)
        # More than the socket takes: what is left waits here.
        plan = plan_of("import os; os._exit(len(os.environ['BIG']) % 256)", BIG="x" * 300_001)
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(forks.server.start(plan, Outlets(outlet, outlet)))
                for _ in range(5)
            ]

        statuses = await asyncio.gather(*(task.result().exited for task in started))
        assert statuses == [300_001 % 256] * 5

    async def test_killer_is_asked_once_and_never_for_what_is_gone(self, tmp_path: Path) -> None:
        killed: list[int] = []

        def kill(pid: int) -> None:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

        async with forking(tmp_path, kill=kill) as forks:
            run = await forks.begin(WAIT)
            run.process.kill()
            assert await run.process.exited == -9
            run.process.kill()

        assert killed == [run.process.pid]

    async def test_kill_ends_the_group(self, forks: Forks) -> None:
        script = "import os, signal\nprint(os.fork(), flush=True)\nsignal.pause()"
        run = await forks.begin(script)
        child = int(await run.line())
        run.process.kill()

        assert (await run.end())[0] == -9
        await until(lambda: not is_running(child), 2)

    async def test_nothing_is_left_open(self, forks: Forks, outlet: int) -> None:
        await forks.run("")
        before = open_descriptors()
        process = await forks.server.start(plan_of(""), Outlets(outlet, outlet))
        await process.exited
        with pytest.raises(LaunchFailed, match="/no"):
            await forks.server.start(Plan((), {}, "/no"), Outlets(outlet, outlet))

        assert open_descriptors() == before
        os.fstat(outlet)

    def test_it_runs_on_uvloop(self, tmp_path: Path) -> None:
        async def run() -> tuple[int, str]:
            async with forking(tmp_path) as forks:
                return await forks.run("print('uv')")

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert runner.run(run()) == (0, "uv\n")

    @pytest.mark.parametrize("at", [1, 2])
    async def test_descriptors_that_cannot_be_given_leave_nothing(
        self, forks: Forks, outlet: int, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        await forks.run("")
        before = open_descriptors()
        duplicate, calls = os.dup, itertools.count(1)

        def refuse(descriptor: int) -> int:
            if next(calls) == at:
                raise OSError(errno.EMFILE, "Too many open files")
            return duplicate(descriptor)

        monkeypatch.setattr(os, "dup", refuse)
        with pytest.raises(OSError, match="Too many"):
            await forks.server.start(plan_of(""), Outlets(outlet, outlet))
        monkeypatch.undo()

        assert open_descriptors() == before
        assert (await forks.run("print(1)")) == (0, "1\n")

    async def test_a_server_that_cannot_be_executed_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = open_descriptors()
        monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
        with pytest.raises(FileNotFoundError):
            await ForkServer().__aenter__()

        assert open_descriptors() == before

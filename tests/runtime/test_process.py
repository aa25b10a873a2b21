"""Starting, reaping and killing real processes, on both event loops."""

import asyncio
import os
import secrets
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.runtime import process as module
from gateway.runtime.control_groups import ControlGroups
from gateway.runtime.launch import LaunchFailed, Outlets, Plan
from gateway.runtime.process import (
    MARKER,
    ChildProcess,
    Members,
    ProcessLauncher,
)
from tests.runtime.launching import (
    PATIENCE_SECONDS,
    abilities,
    carriers,
    is_any_there,
    launched,
    nowhere,
    python_plan,
    room_plan,
    run,
    until,
)

pytestmark = pytest.mark.slow

KILLED_SECONDS = 2.0
"""How soon nothing must be left of an environment (reliability.md P18)."""

FOREVER = "import signal; print('ready', flush=True); signal.pause()"

DAEMON = """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print('ready', flush=True)
        signal.pause()
    os._exit(0)
os.wait()
"""
"""Has a grandchild in a session of its own, whose parent is init."""

BOMB = """
import os
print('ready', flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""

BOUNDED_BOMB = """
import os
for _ in range(6):
    os.fork()
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""
"""Goes on forking, but never has more than 128 processes, where nothing else limits them."""


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both loops: they watch descriptors differently."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture
def marker() -> str:
    return f"2026/11/22/[$LATEST]{secrets.token_hex(16)}"


async def test_environment_is_exactly_that_of_the_plan() -> None:
    # Python itself adds LC_CTYPE when nothing says what the encoding is.
    variables = {"LC_ALL": "C.UTF-8", "B": "caf\xe9 = \n", "EMPTY": ""}
    code = "import os; print(dict(os.environ) == " + repr(variables) + ")"

    assert await run(python_plan(code, variables)) == (0, "True")


def real(path: Path) -> str:
    return str(path.resolve())


async def test_it_runs_in_its_directory(tmp_path: Path) -> None:
    plan = replace(python_plan("import os; print(os.getcwd())"), directory=str(tmp_path))

    assert await run(plan) == (0, real(tmp_path))


async def test_only_its_four_descriptors_are_open() -> None:
    code = "import os\nfor number in range(1024):\n    try:\n        os.fstat(number)\n"
    code += "        print(number, end=' ')\n    except OSError:\n        pass\n"
    code += "print(os.path.samestat(os.fstat(0), os.stat('/dev/null')))"
    inheritable, other = os.pipe()
    os.set_inheritable(inheritable, True)
    try:
        async with launched(python_plan(code)) as it:
            await it.process.exited

            assert it.text() == f"0 1 2 {it.log} True\n"
    finally:
        os.close(inheritable)
        os.close(other)


async def test_both_streams_and_the_log_go_where_they_should() -> None:
    code = "import os, sys; os.write(1, b'a'); os.write(2, b'b'); "
    code += "os.write(int(os.environ['FD']), b'c'); print(sys.stdin.read())"
    read_end, write_end = os.pipe()
    with nowhere() as outlets:
        plan = python_plan(code, {"FD": str(write_end)})
        process = await ProcessLauncher().start(plan, Outlets(outlets.output, write_end))
        assert await process.exited == 0
    os.close(write_end)
    assert os.read(read_end, 10) == b"c"
    os.close(read_end)

    assert await run(python_plan("import os; os.write(1, b'a'); os.write(2, b'b')")) == (0, "ab")


async def test_it_has_a_session_of_its_own() -> None:
    code = "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0))"

    assert await run(python_plan(code)) == (0, "True")


async def test_signals_are_as_for_any_new_process() -> None:
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    code = (
        "print([hex(int(x.split()[1], 16) & 0x7fffffff) for x in open('/proc/self/status')"
        " if x[:6] in ('SigBlk', 'SigIgn')])"
    )
    try:
        # It is Python that ignores SIGPIPE and SIGXFSZ. From 32 on they are the C library's.
        assert await run(python_plan(code)) == (0, str(["0x0", "0x1001000"]))
    finally:
        signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os.kill(os.getpid(), 15)", -15),
        ("import os; os.kill(os.getpid(), 9)", -9),
    ],
)
async def test_exit_status_is_the_one_subprocess_has(code: str, status: int) -> None:
    assert (await run(python_plan(code)))[0] == status


async def test_exit_is_seen_without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)

    assert (await run(python_plan("raise SystemExit(4)")))[0] == 4


def executable(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("#!/no/such/interpreter\n", 0o755, "its interpreter is missing"),
        ("no program", 0o755, "Exec format error"),
    ],
)
async def test_command_that_cannot_run_is_named_with_the_reason(
    tmp_path: Path, text: str, mode: int, reason: str
) -> None:
    command = executable(tmp_path / "bootstrap", text, mode)
    with pytest.raises(LaunchFailed, match=reason) as caught:
        await run(Plan((command,), {}, "/"))

    assert command in str(caught.value)


async def test_command_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchFailed, match="No such file or directory: '/no/such/bootstrap'"):
        await run(Plan(("/no/such/bootstrap",), {}, "/"))


async def test_directory_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchFailed, match="/no/such/directory"):
        await run(replace(python_plan(""), directory="/no/such/directory"))


async def test_interpreter_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")

    with pytest.raises(LaunchFailed, match="/no/such/python"):
        await run(python_plan(""))


async def test_command_is_looked_for_in_its_own_path(tmp_path: Path) -> None:
    executable(tmp_path / "there", "#!/bin/sh\necho found")

    assert await run(Plan(("there",), {"PATH": str(tmp_path)}, "/")) == (0, "found")


async def test_plan_without_command_is_for_the_fork_server() -> None:
    with pytest.raises(ValueError, match="fork server"):
        await run(Plan((), {}, "/"))


async def test_large_environment_arrives() -> None:
    variables = {f"V{number}": "x" * 100_000 for number in range(5)}
    code = "import os; print(sum(map(len, os.environ.values())))"

    assert await run(python_plan(code, {**variables, "LC_ALL": "C"})) == (0, "500001")


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


async def test_start_that_is_cancelled_leaves_nothing(tmp_path: Path, marker: str) -> None:
    await run(python_plan(""))
    before = descriptors(), children()
    plan = python_plan(FOREVER, {MARKER: marker})
    with nowhere() as outlets, pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await ProcessLauncher().start(plan, outlets)

    await until(lambda: (descriptors(), children()) == before)
    assert carriers(marker) == []


async def test_neither_success_nor_failure_leaves_anything(tmp_path: Path) -> None:
    await run(python_plan(""))
    before = descriptors(), children()
    await run(python_plan("raise SystemExit(1)"))
    with pytest.raises(LaunchFailed):
        await run(Plan(("/no/such/bootstrap",), {}, "/"))

    assert (descriptors(), children()) == before


async def test_killed_process_is_reported_as_killed(marker: str) -> None:
    async with launched(python_plan(FOREVER, {MARKER: marker})) as it:
        await until(lambda: "ready" in it.text())
        it.process.kill()

        assert await it.process.exited == -signal.SIGKILL
        it.process.kill()
    assert carriers(marker) == []


async def test_kill_reaches_a_grandchild_that_left_session_and_parent(marker: str) -> None:
    code = f"{DAEMON}\nsignal.pause()"
    async with launched(python_plan(code, {MARKER: marker})) as it:
        await until(lambda: "ready" in it.text())
        started = asyncio.get_running_loop().time()
        it.process.kill()
        await it.process.exited

        assert carriers(marker) == []
        assert asyncio.get_running_loop().time() - started < KILLED_SECONDS


async def test_what_a_process_leaves_behind_ends_with_it(marker: str) -> None:
    async with launched(python_plan(DAEMON, {MARKER: marker})) as it:
        assert await it.process.exited == 0

        assert it.text() == "ready\n"
        assert carriers(marker) == []


FORGET = "os.execve(sys.executable, ['p', '-c', 'import time; time.sleep(99)', marker], {})"


@pytest.mark.parametrize("escape", ["os.setsid()", FORGET, f"os.setsid(); {FORGET}"])
async def test_kill_reaches_children_without_their_marker(marker: str, escape: str) -> None:
    code = f"import os, signal, sys; marker = os.environ[{MARKER!r}]\n"
    code += f"if os.fork() == 0:\n    print('ready', flush=True)\n    {escape}\nsignal.pause()"
    async with launched(python_plan(code, {MARKER: marker})) as it:
        await until(lambda: "ready" in it.text() and len(carriers(marker)) == 2)
        it.process.kill()
        await it.process.exited

        await until(lambda: carriers(marker) == [])  # killed, but perhaps not gone yet
        assert carriers(marker) == []


async def test_marker_is_seen_behind_many_variables(marker: str) -> None:
    variables = {f"V{number}": "x" * 1000 for number in range(60)}
    async with launched(python_plan(DAEMON, {**variables, MARKER: marker})) as it:
        await it.process.exited

        assert carriers(marker) == []


async def test_neighbours_stay(marker: str) -> None:
    async with (
        launched(python_plan(FOREVER, {MARKER: marker})) as neighbour,
        launched(python_plan(FOREVER, {MARKER: marker + "1"})) as it,
    ):
        await until(lambda: "ready" in it.text() and "ready" in neighbour.text())
        it.process.kill()
        await it.process.exited

        assert not neighbour.process.exited.done()
        assert carriers(marker) == [neighbour.process.pid]


async def test_fork_bomb_is_gone_within_two_seconds_without_control_groups(marker: str) -> None:
    plan = python_plan(BOUNDED_BOMB, {MARKER: marker})
    async with launched(plan) as it:
        await until(lambda: len(carriers(marker)) > 20)
        started = asyncio.get_running_loop().time()
        it.process.kill()
        await it.process.exited

        assert carriers(marker) == []
        assert asyncio.get_running_loop().time() - started < KILLED_SECONDS


async def test_fork_bomb_in_control_groups_is_gone_within_two_seconds(marker: str) -> None:
    if not any("pids" in found.controllers for found in abilities().hierarchies):
        pytest.skip("no control group that limits processes can be made here")
    async with ControlGroups(
        abilities().hierarchies, memory_bytes=256 << 20, processes=100
    ) as groups:
        plan = replace(python_plan(BOMB, {MARKER: marker}), cgroups=groups.directories)
        async with launched(plan) as it:
            await until(lambda: len(it.process.members.find()) >= 100)
            started = asyncio.get_running_loop().time()
            it.process.kill()
            await it.process.exited

            assert carriers(marker) == []
            assert asyncio.get_running_loop().time() - started < KILLED_SECONDS
    assert not is_any_there(groups.directories)


async def test_kill_in_a_room_reaches_everything(tmp_path: Path, marker: str) -> None:
    plan = replace(room_plan(f"{DAEMON}\nsignal.pause()", tmp_path), environ={MARKER: marker})
    async with launched(plan) as it:
        await until(lambda: "ready" in it.text())
        it.process.kill()
        await it.process.exited

        assert carriers(marker) == []


PARENT = """
import asyncio, os, signal, sys
from gateway.runtime.launch import Outlets, Plan
from gateway.runtime.process import ProcessLauncher
plan = Plan((sys.executable, "-I", "-c", sys.argv[1]), {sys.argv[2]: sys.argv[3]}, "/")
asyncio.run(ProcessLauncher().start(plan, Outlets(1, 1)))
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_it_does_not_outlive_the_gateway(marker: str) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux can bind a child's life to its parent's")
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, FOREVER, MARKER, marker, stdout=asyncio.subprocess.DEVNULL
    )

    assert await gateway.wait() == -signal.SIGKILL
    await until(lambda: carriers(marker) == [])


async def test_reaped_first_process_is_not_touched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(module, "kill_all", killed.extend)

    assert Members(0, (), secrets.token_hex(16)).kill() is False
    assert Members(0).kill() is False
    assert killed == []


async def test_what_does_not_die_does_not_hold_the_exit_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KILLS", 3)
    monkeypatch.setattr(module.Members, "kill", lambda _self: True)
    with nowhere() as outlets:
        process = await ProcessLauncher().start(python_plan("raise SystemExit(5)"), outlets)

        assert await asyncio.wait_for(process.exited, PATIENCE_SECONDS) == 5


async def test_cancelled_waiter_does_not_stop_the_reaping() -> None:
    async with launched(python_plan(FOREVER)) as it:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(it.process.exited, 0.01)
        it.process.kill()

        await until(lambda: it.process.pid not in children())
        it.process.exited = asyncio.get_running_loop().create_future()
        it.process.exited.set_result(0)
    assert isinstance(it.process, ChildProcess)


@pytest.mark.parametrize("error", [ValueError("unmarshallable object"), MemoryError()])
async def test_start_that_fails_otherwise_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    before = descriptors(), children()
    for name in ("_execute", "ChildProcess"):  # before the process is there, and after
        with monkeypatch.context() as broken, nowhere() as outlets:
            broken.setattr(module, name, fail)
            with pytest.raises(type(error)):
                await ProcessLauncher().start(python_plan(""), outlets)

    assert (descriptors(), children()) == before

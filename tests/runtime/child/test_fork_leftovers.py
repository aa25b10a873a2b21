"""What forked children leave behind, and what ends with them: processes, descriptors, memory."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.runtime.launch import LaunchFailed, Outlets, Plan
from tests.runtime.forking import Forks, forking, is_running, until
from tests.soaking import IS_SOAK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="children of macOS are executed"),
]


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    async with forking(tmp_path) as made:
        yield made


WAIT = "import signal\nprint('ready', flush=True)\nsignal.pause()"

DAEMON = """
import os, signal
read, write = os.pipe()
if os.fork() == 0:
    {session}
    if os.fork() == 0:
        os.write(write, b'%d' % os.getpid())
        {last}
    os._exit(0)
os.wait()
os.write(1, os.read(read, 20) + b'\\n')  # at once: others may write there, too
signal.pause()
"""

SLEEP = "os.execvpe('sleep', ['sleep', '1000'], {environ})"


@pytest.mark.parametrize("session", ["pass", "os.setsid()"])
@pytest.mark.parametrize(
    "last", ["signal.pause()", SLEEP.format(environ="os.environ"), SLEEP.format(environ="{}")]
)
async def test_what_an_environment_leaves_behind_dies_with_it(
    forks: Forks, session: str, last: str
) -> None:
    script = DAEMON.format(session=session, last=last)
    run = await forks.begin(script, AWS_LAMBDA_LOG_STREAM_NAME="a")
    daemon = int(await run.line())
    assert is_running(daemon)
    run.process.kill()

    assert await run.process.exited == -9
    await until(lambda: not is_running(daemon), 2)


@pytest.mark.parametrize(
    ("session", "last"),
    [
        ("pass", "signal.pause()"),
        ("os.setsid()", "signal.pause()"),
        ("os.setsid()", SLEEP.format(environ="os.environ")),
        ("os.setsid()", SLEEP.format(environ="{}")),
        ("pass", SLEEP.format(environ="{'AWS_LAMBDA_LOG_STREAM_NAME': 'c'}")),
    ],
)
async def test_what_a_living_environment_has_started_lives(
    forks: Forks, session: str, last: str
) -> None:
    script = DAEMON.format(session=session, last=last)
    run = await forks.begin(script, AWS_LAMBDA_LOG_STREAM_NAME="a")
    daemon = int(await run.line())
    for _ in range(3):
        assert await forks.run("", AWS_LAMBDA_LOG_STREAM_NAME="b") == (0, "")

    assert is_running(daemon)
    assert not run.process.exited.done()


async def test_end_of_the_server_ends_everything(tmp_path: Path) -> None:
    async with forking(tmp_path) as forks:
        script = DAEMON.format(session="os.setsid()", last="signal.pause()")
        runs = [await forks.begin(script) for _ in range(3)]
        pids = [int(await run.line()) for run in runs] + [run.process.pid for run in runs]
        server = forks.server.pid or 0

    assert [run.process.exited.result() for run in runs] == [-9, -9, -9]
    assert not any(map(is_running, [*pids, server]))


def spare(pid: int) -> None:
    """Kill nothing."""


async def test_death_of_the_server_ends_its_children(tmp_path: Path) -> None:
    async with forking(tmp_path, kill=spare) as forks:
        run = await forks.begin(WAIT)
        assert await run.line() == "ready"
        os.kill(forks.server.pid or 0, signal.SIGKILL)

        assert await asyncio.wait_for(run.process.exited, 2) == -9
        await until(lambda: not is_running(run.process.pid), 2)


GATEWAY = """
import asyncio, os, pathlib, sys
from gateway.runtime.fork_client import ForkServer
from gateway.runtime.launch import Outlets, Plan

async def main():
    child = pathlib.Path(sys.argv[1])
    server = ForkServer(sandbox=child / 'sandbox.py', child=child)
    await server.__aenter__()
    plan = Plan((), {'SCRIPT': sys.argv[2]}, '/')
    await server.start(plan, Outlets(1, 1))
    os.write(1, b'%d\\n' % server.pid)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_death_of_the_gateway_ends_everything(tmp_path: Path, forks: Forks) -> None:
    script = DAEMON.format(session="os.setsid()", last="signal.pause()")
    script = f"import os\nos.write(1, b'%d\\n' % os.getpid())\n{script}"
    gateway = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GATEWAY, str(tmp_path / "stubs"), script),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert gateway.stdout is not None
    pids = [int(await gateway.stdout.readline()) for _ in range(3)]
    assert all(map(is_running, pids))
    gateway.kill()
    await gateway.wait()

    await until(lambda: not any(map(is_running, pids)), 2)


def belongings(pid: int) -> tuple[int, int, int]:
    """Return the descriptors, the children and the memory in pages of a process."""
    proc = Path(f"/proc/{pid}")
    children = (proc / f"task/{pid}/children").read_text().split()
    memory = int((proc / "statm").read_text().split()[1])
    return len(list((proc / "fd").iterdir())), len(children), memory


FIRST, MANY = (100, 225) if IS_SOAK else (20, 40)


async def test_many_starts_leave_nothing_in_the_server(forks: Forks) -> None:
    pid = forks.server.pid or 0
    log = os.open(os.devnull, os.O_WRONLY)

    async def start_many(count: int) -> None:
        for number in range(count):
            plan = Plan((), {"SCRIPT": "import os; os._exit(0)"}, "/" if number % 10 else "/no")
            try:
                process = await forks.server.start(plan, Outlets(log, log))
            except LaunchFailed:
                continue
            assert await process.exited == 0

    try:
        await start_many(FIRST)
        before = belongings(pid)
        await asyncio.gather(*(start_many(MANY) for _ in range(4)))
    finally:
        os.close(log)
    await until(lambda: belongings(pid)[1] == 0)

    assert belongings(pid)[:2] == before[:2]
    assert belongings(pid)[2] <= before[2] * 1.05

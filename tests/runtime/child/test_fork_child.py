"""What a forked process becomes: variables, session, descriptors and room of its plan."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.runtime.launch import LaunchFailed, MountNamespace, Outlets, Plan
from tests.runtime.forking import Forks, forking

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="children of macOS are executed"),
]

WAIT = "import signal\nprint('ready', flush=True)\nsignal.pause()"


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    async with forking(tmp_path) as made:
        yield made


async def test_variables_are_exactly_those_of_the_plan(
    forks: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_GATEWAY", "1")
    script = """
        import os, subprocess
        (dict(os.environ), subprocess.check_output(['env', '-0']))
    """
    variables = {"A": "\xe9\udcff", "TZ": ":UTC", "PATH": os.environ["PATH"]}

    seen, inherited = await forks.answer(script, **variables)

    assert seen == {**variables, "LC_CTYPE": "C.UTF-8"}  # PEP 538
    names = {line.partition(b"=")[0].decode() for line in inherited.split(b"\0") if line}
    assert names == seen.keys()


async def test_what_a_process_shows_is_its_environment_and_nothing_of_the_gateway(
    forks: Forks,
) -> None:
    run = await forks.begin(WAIT, AWS_LAMBDA_LOG_STREAM_NAME="2026/11/22/[$LATEST]ab")
    shown = await asyncio.to_thread(Path(f"/proc/{run.process.pid}/environ").read_bytes)

    assert shown.rstrip(b"\0") == b"AWS_LAMBDA_LOG_STREAM_NAME=2026/11/22/[$LATEST]ab"


async def test_time_zone_of_the_plan_is_in_force(forks: Forks) -> None:
    assert await forks.answer("import time\ntime.tzname", TZ="XYZ3") == ("XYZ", "XYZ")


async def test_child_leads_a_session_in_the_directory_of_the_plan(
    forks: Forks, tmp_path: Path
) -> None:
    script = "import os\nprint([os.getcwd(), os.getsid(0), os.getpgrp(), os.getpid()])"
    run = await forks.begin(script, Plan((), {}, str(tmp_path)))
    status, text = await run.end()

    directory, session, group, pid = eval(text)
    assert (status, directory) == (0, str(tmp_path))
    assert session == group == pid == run.process.pid
    assert os.getsid(forks.server.pid or 0) == forks.server.pid


async def test_descriptors_are_the_standard_ones_and_the_log(forks: Forks) -> None:
    others = [await forks.begin(WAIT) for _ in range(2)]
    script = """
        import os, stat
        fds = [int(fd) for fd in os.listdir('/proc/self/fd')]
        open_fds = [fd for fd in fds if os.path.exists(f'/proc/self/fd/{fd}') ]
        open_fds = [fd for fd in open_fds if not os.path.isdir(f'/proc/self/fd/{fd}')]
        os.write(62, b'an entry')
        [sorted(open_fds), os.readlink('/proc/self/fd/0'), os.get_inheritable(62)]
    """

    assert await forks.answer(script, _LAMBDA_TELEMETRY_LOG_FD="62") == [
        [0, 1, 2, 62],
        "/dev/null",
        True,
    ]
    assert all(not other.process.exited.done() for other in others)


@pytest.mark.parametrize("number", ["3", "4", "5", "7", "62"])
async def test_log_has_the_number_of_its_variable(forks: Forks, number: str) -> None:
    script = f"import os\nprint('out')\nos.write({number}, b'entry')"
    run = await forks.begin(script, _LAMBDA_TELEMETRY_LOG_FD=number)

    assert await run.end() == (0, "out\n")
    assert os.read(run.log, 100) == b"entry"
    assert os.read(run.log, 100) == b""


async def test_namespaces_are_met_and_not_kept(forks: Forks) -> None:
    spaces = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("user", "mnt")]
    numbers = [os.fstat(space).st_ino for space in spaces]
    output, its_output = os.pipe()
    script = "import os\nprint(os.environ['MET'], len(os.listdir('/proc/self/fd')))"
    try:
        plan = Plan((), {"SCRIPT": script}, "/")
        process = await forks.server.start(plan, Outlets(its_output, its_output, tuple(spaces)))
        assert await process.exited == 0
    finally:
        for descriptor in (*spaces, its_output):
            os.close(descriptor)

    with os.fdopen(output) as text:
        assert text.read() == f"{numbers} 4\n"


async def test_sandbox_that_fails_is_a_failed_launch(forks: Forks) -> None:
    with pytest.raises(LaunchFailed, match="there is no such room"):
        await forks.begin("", Plan((), {}, "/", room=MountNamespace("/")))

    assert await forks.run("") == (0, "")


async def test_variable_that_cannot_be_set_is_a_failed_launch(forks: Forks) -> None:
    with pytest.raises(LaunchFailed, match="null byte"):
        await forks.run("", BAD="a\0b")

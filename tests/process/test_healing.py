"""What is killed, or crashes, and whether the pool is whole again afterwards."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.leftovers import children, descendants, lives, wait_until
from tests.e2e.serving import Gate, Server, get, serving
from tests.process.bootstraps import answering, write_bootstrap
from tests.process.recording import recording
from tests.soaking import IS_SOAK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

COUNT = 10 if IS_SOAK else 4
"""Processes that die, one after the other."""

LONG_INIT = """
import os, time
time.sleep(1.0)
def handler(event, context):
    if event["path"] == "/die":
        os._exit(1)
    return {"statusCode": 200, "body": str(os.getpid())}
"""


@contextmanager
def served(place: Path, source: str, *options: str) -> Iterator[Server]:
    (place / "app.py").write_text(source)
    with serving("app.handler", "--quiet", *options, code=place) as server:
        yield server


def environments(server: Server) -> set[int]:
    """Return the forked processes of environments."""
    return {pid for fork_server in children(server.pid) for pid in children(fork_server)}


def wait_for(server: Server, count: int) -> None:
    wait_until(lambda: len(environments(server)) == count, lambda: environments(server))


def statuses(server: Server, *paths: str) -> list[int]:
    return [get(server, path)[0] for path in paths]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_crash_of_a_function_with_a_long_init_costs_one_request(tmp_path: Path) -> None:
    """Its init is longer than its timeout: inside an invocation it cannot succeed."""
    options = ("--timeout", "0.5", "--concurrency", "4", "--min-environments", "4")
    with served(tmp_path, LONG_INIT, *options) as server, ThreadPoolExecutor(4) as pool:
        before = statuses(server, *["/"] * 4)
        crash = statuses(server, "/die")
        after = statuses(server, *["/"] * 8)
        wait_for(server, 4)
        together = [*pool.map(lambda _: get(server, "/")[0], range(16))]

    assert (before, crash, after) == ([200] * 4, [502], [200] * 8)
    assert Counter(together) == {200: 16}


def test_only_environment_that_crashed_is_replaced_once_its_init_failed(tmp_path: Path) -> None:
    options = ("--timeout", "0.5", "--concurrency", "1")
    with served(tmp_path, LONG_INIT, *options) as server:
        found = statuses(server, "/", "/die", *["/"] * 4)

    assert found == [200, 502, 502, 200, 200, 200]


def test_death_of_the_fork_server_costs_what_runs_and_no_more(tmp_path: Path) -> None:
    gate = Gate()
    options = ("--quiet", "--min-environments", "3", "--timeout", "60")
    with closing(gate), ThreadPoolExecutor(1) as pool, serving("echo.handler", *options) as server:
        wait_for(server, 3)
        running = pool.submit(get, server, "/wait", **{"X-Gate": str(gate.path)})
        gate.wait_entered()
        [fork_server] = children(server.pid)
        before = environments(server)
        kill(fork_server)
        at_once = statuses(server, *["/"] * 20)
        wait_for(server, 3)

        assert running.result()[0] == 502
        assert at_once == [200] * 20
        assert not before & environments(server)
        wait_until(lambda: not any(map(lives, before)), lambda: before)
        assert len(children(server.pid)) == 1


def test_all_environments_killed_at_once_cost_nothing(tmp_path: Path) -> None:
    options = ("--min-environments", "4")
    with served(tmp_path, LONG_INIT.replace("1.0", "0"), *options) as server:
        for _ in range(5 if IS_SOAK else 2):
            wait_for(server, 4)
            for pid in environments(server):
                kill(pid)
            assert statuses(server, *["/"] * 3) == [200] * 3


def test_environment_killed_in_its_init_is_started_again(tmp_path: Path) -> None:
    with recording() as (pipe, lines):
        source = (
            "import os, time\n"
            "pipe = os.open(os.environ['RECORD'], os.O_WRONLY)\n"
            "os.write(pipe, f'{os.getpid()}\\n'.encode())\n"
            "time.sleep(0.5)\n"
            "def handler(event, context):\n"
            "    return {'statusCode': 200}\n"
        )
        options = ("--env", f"RECORD={pipe}", "--min-environments", "1")
        with served(tmp_path, source, *options) as server, ThreadPoolExecutor(1) as pool:
            first = int(lines.wait_for(r"^\d+$")[0])
            kill(first)
            answer = pool.submit(get, server, "/")
            second = int(lines.wait_for(r"^\d+$", after=1)[0])
            kill(second)

            assert answer.result()[0] == 200


def test_kill_of_a_handlers_child_costs_the_child(tmp_path: Path) -> None:
    with recording() as (pipe, lines):
        source = (
            "import os, subprocess\n"
            "def handler(event, context):\n"
            "    pipe = os.open(os.environ['RECORD'], os.O_WRONLY)\n"
            "    child = subprocess.Popen(['sleep', '60'])\n"
            "    os.write(pipe, f'{child.pid}\\n'.encode())\n"
            "    return {'statusCode': 200, 'body': str(child.wait())}\n"
        )
        options = ("--env", f"RECORD={pipe}", "--timeout", "30")
        with served(tmp_path, source, *options) as server, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(get, server, "/")
            kill(int(lines.wait_for(r"^\d+$")[0]))

            assert answer.result() == (200, b"-9")


@pytest.mark.parametrize("size", [0, 700_000], ids=["small", "large"])
def test_process_that_dies_after_its_answer_costs_nothing(tmp_path: Path, size: int) -> None:
    """The end of the process may be known before its answer has been read."""
    write_bootstrap(tmp_path, answering(size=size, dies=True))
    with serving("app.handler", "--runtime", "provided.al2023", "--quiet", code=tmp_path) as server:
        answers = [get(server, "/") for _ in range(COUNT)]
        wait_until(lambda: not descendants(server.pid), lambda: descendants(server.pid))

    assert answers == [(200, b"answered")] * COUNT

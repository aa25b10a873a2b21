"""What idle environments cost: CPU time of the gateway, with and without control groups."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import geteuid
from pathlib import Path
from threading import Event

import pytest

from tests.e2e.leftovers import descendants, wait_until
from tests.e2e.serving import APPS, Server, gateway_command, get
from tests.process.whole import cpu_seconds, without_control_groups
from tests.soaking import run_seconds, soak_only

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

SECONDS = run_seconds(1)
ENVIRONMENTS = 20
SHARE = 0.04
"""Of a core; 20 idle environments took 20 % and more when each was walked for ten times a second,
and take 1 % now. The rest is for a busy machine."""

HIDES = pytest.mark.skipif(geteuid() != 0, reason="only root can hide the control groups")
PLACES = [pytest.param(False, id="control-groups"), pytest.param(True, id="none", marks=HIDES)]


@contextmanager
def idle(
    handler: str = "echo.handler",
    *options: str,
    is_hidden: bool,
    count: int = ENVIRONMENTS,
) -> Iterator[Server]:
    """Serve with this many environments that wait."""
    command = gateway_command(
        *("serve", handler, "--port", "0", "--quiet", "--min-environments", str(count)),
        *(options or ("--code", str(APPS))),
    )
    with Server(without_control_groups(command) if is_hidden else command) as server:
        yield server.wait_until_listening()
        assert server.stop() == 0


@pytest.mark.parametrize("is_hidden", PLACES)
def test_idle_environments_cost_next_to_nothing(*, is_hidden: bool) -> None:
    with idle(is_hidden=is_hidden) as server:
        assert len(descendants(server.pid)) >= ENVIRONMENTS
        assert any(share(server) < SHARE for _ in range(3))  # the first may have some of the start


def share(server: Server) -> float:
    """Return which share of a core a server has used meanwhile."""
    before = cpu_seconds(server.pid)
    Event().wait(SECONDS)  # what is measured is a rate: time has to pass
    return (cpu_seconds(server.pid) - before) / SECONDS


GREEDY = """
import subprocess, sys, threading, time

GROW = "held = bytearray(b'x') * (400 << 20); import time; time.sleep(20)"
held = []

def grow():
    held.append(bytearray(b"x") * (400 << 20))

def handler(event, context):
    if event["path"] == "/memory":
        grow()
        time.sleep(20)
    if event["path"] == "/child":
        subprocess.run([sys.executable, "-c", GROW], check=True)
    if event["path"] == "/later":
        threading.Timer(0.3, grow).start()
    return {"statusCode": 200, "body": str(len(held))}
"""


@pytest.mark.parametrize(
    ("path", "is_hidden"),
    [
        ("/memory", False),
        pytest.param("/child", True, marks=HIDES),
        pytest.param("/later", True, marks=HIDES),
        pytest.param("/child", False, marks=soak_only),
        pytest.param("/later", False, marks=soak_only),
        pytest.param("/memory", True, marks=[HIDES, soak_only]),
    ],
)
def test_a_function_over_a_limit_is_ended_among_idle_environments(
    path: str, tmp_path: Path, *, is_hidden: bool
) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY)
    options = ("--timeout", "25", "--code", str(tmp_path))
    with idle("greedy.handler", *options, is_hidden=is_hidden, count=3) as server:
        before = descendants(server.pid)
        status, body = get(server, path)
        wait_until(lambda: bool(before - descendants(server.pid)), lambda: "all live")
        after = get(server, "/")

    assert (status, body) == (200, b"0") if path == "/later" else status == 502
    assert after == (200, b"0")

"""A slot has a worker again at once, whatever the one before it does."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import pytest

from tests.e2e.leftovers import adopting, children, wait_until
from tests.e2e.serving import DEADLINE_SECONDS, Server, get, serving

pytestmark = pytest.mark.slow

OPTIONS = ("--workers", "2", "--in-process", "--quiet")
REPLACE_SECONDS = 8.0
"""For the start of an interpreter on a busy machine; it was 24.8 s, the rest of a drain."""

SLOW_START = """
import time
from pathlib import Path
time.sleep(float(Path(__file__).with_name("seconds").read_text()))

def handler(event, context):
    return {"statusCode": 200, "body": "served"}
"""


@contextmanager
def idle_clients(server: Server, count: int) -> Iterator[None]:
    """Hold idle connections that have asked once: with both workers, if there are some."""
    clients = [
        socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS) for _ in range(count)
    ]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    yield
    for client in clients:
        client.close()


def test_worker_that_dies_while_its_predecessor_drains_is_replaced_at_once() -> None:
    with adopting() as left, serving("echo.handler", *OPTIONS) as server:
        with idle_clients(server, 12):
            old = children(server.pid)
            server.signal(signal.SIGHUP)
            server.output.wait_for("^replaced 2 workers$")
            fresh = children(server.pid) - old
            started = perf_counter()
            for worker in fresh:
                os.kill(worker, signal.SIGKILL)
            served = get(server, "/")[0]
            seconds = perf_counter() - started
            drained = old & children(server.pid)
            wait_until(lambda: len(children(server.pid) - old - fresh) == 2, server.output.text)
        assert server.stop() == 0
        assert left() == []

    assert drained, "no client held an old one, and nothing was tried"
    assert (served, seconds < REPLACE_SECONDS) == (200, True)


def test_worker_that_dies_again_and_again_beside_a_drain_is_started_later_each_time() -> None:
    with serving("echo.handler", *OPTIONS) as server, idle_clients(server, 12):
        before = children(server.pid)
        server.signal(signal.SIGHUP)
        server.output.wait_for("^replaced 2 workers$")
        victim = min(children(server.pid) - before)
        for pause in ("now", "in 1 s, after 2 quick exits in a row"):
            known = children(server.pid)
            os.kill(victim, signal.SIGKILL)
            server.output.wait_for(rf"process {victim}\) .* another one starts {pause}$")
            wait_until(lambda: bool(children(server.pid) - known), server.output.text)  # noqa: B023
            [victim] = children(server.pid) - known


def test_roll_fills_a_slot_that_waits_for_its_next_try() -> None:
    with serving("echo.handler", *OPTIONS) as server:
        victim, other = children(server.pid)
        for deaths in (2, 3):  # the pause is 2 s then
            os.kill(victim, signal.SIGKILL)
            server.output.wait_for(rf"process {victim}\) ")
            if deaths < 3:
                wait_until(lambda: len(children(server.pid)) == 2, server.output.text)
                [victim] = children(server.pid) - {other}
        server.signal(signal.SIGHUP)
        server.output.wait_for("^replaced 2 workers$")
        wait_until(lambda: len(children(server.pid)) == 2, server.output.text)
        fresh = children(server.pid)
        os.kill(min(fresh), signal.SIGKILL)  # one that the roll has put there is watched at once
        wait_until(lambda: len(children(server.pid) - fresh) == 1, server.output.text)

        assert other not in fresh
        assert get(server, "/")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_in_the_middle_of_a_roll_is_heard(tmp_path: Path, number: int) -> None:
    (tmp_path / "app.py").write_text(SLOW_START)
    (tmp_path / "seconds").write_text("0")
    with adopting() as left:
        with serving("app.handler", *OPTIONS, code=tmp_path) as server:
            before = children(server.pid)
            (tmp_path / "seconds").write_text("0.3")
            server.signal(signal.SIGHUP)
            wait_until(lambda: len(children(server.pid)) == 3, server.output.text)
            server.signal(number)
            if number == signal.SIGHUP:
                first = server.output.wait_for("^replaced 2 workers$")
                at = server.output().index(first.string) + 1
                server.output.wait_for("^replaced 2 workers$", after=at)
                wait_until(lambda: len(children(server.pid)) == 2, server.output.text)

                assert not before & children(server.pid)
                assert get(server, "/") == (200, b"served")
            else:
                assert server.wait() == 0
        assert left() == []

"""P1, P7, P8 and P18 with execution environments: what one does reaches no other, nothing is left.

The clients are in this process, so the latencies are those of a busy machine.
"""

import http.client
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter

import pytest

from gateway.runtime.leftovers import sweep
from tests.e2e.leftovers import (
    abilities,
    adopting,
    children,
    control_groups,
    descendants,
    descriptors,
    memory_mb,
    threads,
    wait_until,
)
from tests.e2e.serving import APPS as E2E_APPS
from tests.e2e.serving import Gate, Server, connect, get, serving, wait_until_refused
from tests.promises.conftest import Report
from tests.soaking import IS_SOAK, run_seconds

APPS = Path(__file__).parent / "apps"
WARM_UP_SECONDS, LOAD_SECONDS = run_seconds(12) / 4, run_seconds(3)

KILLS, KILL_CLIENTS = (40, 8) if IS_SOAK else (12, 4)
PAUSE_SECONDS = 0.05
NOTICED_SECONDS = 0.1 if IS_SOAK else 1.0
"""P1: after a kill; the longer one is for a machine that does other things."""

IN_FLIGHT = 20

BOMB_SECONDS = 2.0 if IS_SOAK else 6.0
"""P18: a bomb is over after this time. What cannot end itself has a timeout of 1 second; the rest
of the longer one is for a machine that does other things."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@contextmanager
def isolated(handler: str, *options: str, place: Path, code: Path = APPS) -> Iterator[Server]:
    """Serve a handler in environments; at the end nothing of the server may be left."""
    place.mkdir()
    with adopting() as left:
        variables = {"TMPDIR": str(place)}
        with serving(handler, "--quiet", *options, code=code, env=variables) as server:
            yield server
        wait_until(lambda: not left(), left)
    assert control_groups(server.pid) == []
    assert list(place.iterdir()) == []


class Client(threading.Thread):
    """Asks again and again on one connection, and notes what came."""

    def __init__(self, server: Server, path: Callable[[], str]) -> None:
        super().__init__(daemon=True)
        self._server, self._path = server, path
        self._over = threading.Event()
        self.answers: list[tuple[float, float, int, str]] = []
        """When it came, how long it took, status and path."""

    def run(self) -> None:
        with closing(connect(self._server)) as connection:
            while not self._over.is_set():
                self.answers.append(self._ask(connection))

    def _ask(self, connection: http.client.HTTPConnection) -> tuple[float, float, int, str]:
        path, started = self._path(), perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        now = perf_counter()
        return now, now - started, response.status, path

    def stop(self) -> None:
        self._over.set()

    def statuses(self, path: str = "") -> Counter[int]:
        return Counter(status for _, _, status, asked in self.answers if path in {"", asked})


@contextmanager
def asking(server: Server, count: int, path: Callable[[], str]) -> Iterator[list[Client]]:
    clients = [Client(server, path) for _ in range(count)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join()


def environment_processes(server: Server) -> list[int]:
    """Return the processes of environments: the grandchildren, the fork server being the child."""
    return [pid for child in children(server.pid) for pid in children(child)]


# --- P1 ---


def test_killed_environment_costs_its_own_request_alone(tmp_path: Path, report: Report) -> None:
    kills: list[float] = []
    draw = random.Random(1)

    with isolated("mixed.handler", place=tmp_path / "temporary") as server:
        with asking(server, KILL_CLIENTS, lambda: "/slow") as clients:
            for _ in range(KILLS):
                wait_until(lambda: bool(environment_processes(server)), lambda: "no environment")
                kill(draw.choice(environment_processes(server)), kills)
                threading.Event().wait(PAUSE_SECONDS)
        answers = sorted(answer for client in clients for answer in client.answers)

    failed = [answer for answer in answers if answer[2] != 200]
    delays = [min(at - killed for killed in kills if killed <= at) for at, *_ in failed]
    assert {status for _, _, status, _ in failed} <= {502}
    assert len(failed) <= len(kills)  # one that was idle costs no invocation
    assert len(failed) >= 1
    assert max(delays) < NOTICED_SECONDS
    report(
        f"P1: {len(kills)} environments killed among {len(answers)} requests: {len(failed)} of "
        f"them failed with 502, the last {max(delays) * 1000:.0f} ms after its kill; others 0"
    )


def kill(pid: int, kills: list[float]) -> None:
    now = perf_counter()
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    kills.append(now)


# --- P7 ---


def test_stop_finishes_what_runs_in_environments(tmp_path: Path, report: Report) -> None:
    gate = Gate()
    headers = {"X-Gate": str(gate.path)}
    options = ("--timeout", "60")
    with closing(gate), ThreadPoolExecutor(IN_FLIGHT) as pool:
        place = tmp_path / "temporary"
        with isolated("echo.handler", *options, place=place, code=E2E_APPS) as server:
            answers = [pool.submit(get, server, "/wait", **headers) for _ in range(IN_FLIGHT)]
            gate.wait_entered(IN_FLIGHT)
            processes = len(environment_processes(server))
            server.signal(signal.SIGTERM)
            wait_until_refused(server)
            gate.open(IN_FLIGHT)
            statuses = [answer.result()[0] for answer in answers]
            status = server.wait()

    assert (statuses, status) == ([200] * IN_FLIGHT, 0)
    assert processes >= IN_FLIGHT
    report(f"P7 isolated: {IN_FLIGHT} in flight in as many environments finished, nothing left")


def test_gateway_that_is_killed_takes_its_environments_with_it(tmp_path: Path) -> None:
    gate = Gate()
    with closing(gate), adopting() as left, ThreadPoolExecutor(1) as pool:
        variables = {"TMPDIR": str(tmp_path)}
        with serving("echo.handler", "--timeout", "60", env=variables) as server:
            waiting = pool.submit(get, server, "/wait", **{"X-Gate": str(gate.path)})
            gate.wait_entered()
            groups = control_groups(server.pid)
            server.signal(signal.SIGKILL)
            server.wait()
            assert waiting.exception() is not None
            wait_until(lambda: not left(), left)
        sweep(abilities())  # as the next gateway does at its start
        assert not [group for group in groups if group.exists()]


# --- P8 ---

MIX = (
    ["/good"] * 40
    + ["/print"] * 10
    + ["/slow"] * 10
    + ["/file"] * 5
    + ["/raise"] * 5
    + ["/large"] * 5
    + ["/exit"]
)
EXPECTED = {"/raise": 502, "/exit": 502}

Counts = dict[str, int]

STEADY = 80
"""Looks, 10 ms apart: longer than an environment may be idle."""


def counts(server: Server) -> Counts:
    """Return what a server holds and must give back."""
    return {
        "descriptors": descriptors(server.pid),
        "threads": threads(server.pid),
        "processes": len(descendants(server.pid)),
        "groups": len(control_groups(server.pid)),
    }


def soak(server: Server, seconds: float) -> list[Client]:
    draw = random.Random(8)
    with asking(server, 8, lambda: draw.choice(MIX)) as clients:
        threading.Event().wait(seconds)
    return clients


def test_soak_leaves_no_trace(tmp_path: Path, report: Report) -> None:
    options = ("--idle-environment", "0.5", "--min-environments", "1")
    with isolated("mixed.handler", *options, place=tmp_path / "temporary") as server:
        soak(server, WARM_UP_SECONDS)
        before = settled(server)
        memory = memory_mb(server.pid)
        clients = soak(server, LOAD_SECONDS)
        after = settled(server)
        growth = memory_mb(server.pid) - memory

    statuses = {path: sum((c.statuses(path) for c in clients), Counter()) for path in set(MIX)}
    assert {path: set(each) for path, each in statuses.items()} == {
        path: {EXPECTED.get(path, 200)} for path in set(MIX)
    }
    assert after == before
    assert growth <= max(8, memory * 0.05)
    report(
        f"P8 for {LOAD_SECONDS:g} s of mixed load, {sum(map(len, [c.answers for c in clients]))} "
        f"requests: back to {before}, memory {growth:+.1f} MB of {memory:.0f} MB"
    )


def settled(server: Server) -> Counts:
    """Wait until one environment is left and nothing changes; return what is held then."""
    wait_until(lambda: len(environment_processes(server)) <= 1, lambda: counts(server))
    get(server, "/good")  # the one that is left may have lost its process
    seen: list[Counts] = []
    wait_until(lambda: is_steady(seen, counts(server)), lambda: seen[-3:])
    return seen[-1]


def is_steady(seen: list[Counts], now: Counts) -> bool:
    """Add what is held now; say whether it has been the same for a while."""
    seen.append(now)
    return len(seen) > STEADY and all(each == now for each in seen[-STEADY:])


# --- P18, the resources ---


@pytest.mark.parametrize("bomb", ["fork", "allocate", "fill", "open"])
def test_bomb_is_over_soon_and_neighbours_answer(tmp_path: Path, report: Report, bomb: str) -> None:
    options = ("--timeout", "1", "--ephemeral-storage", "64")
    with isolated("mixed.handler", *options, place=tmp_path / "temporary") as server:
        get(server, "/good")
        with asking(server, 2, lambda: "/good") as neighbours:
            started = perf_counter()
            status, _ = get(server, f"/{bomb}")
            seconds = perf_counter() - started
            wait_until(lambda: len(descendants(server.pid)) < 10, lambda: descendants(server.pid))
            over = perf_counter() - started
        assert get(server, "/good")[0] == 200

    answers = [answer for neighbour in neighbours for answer in neighbour.answers]
    assert status == 502
    assert over < BOMB_SECONDS
    assert {answered for _, _, answered, _ in answers} == {200}
    longest = max(took for _, took, _, _ in answers)
    report(
        f"P18 {bomb} bomb: 502 after {seconds:.2f} s, gone after {over:.2f} s; {len(answers)} "
        f"neighbours answered 200, the slowest after {longest * 1000:.0f} ms"
    )

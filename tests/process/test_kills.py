"""P1: an environment that is killed costs the request that it runs, and no other.

Processes are killed at random moments while requests come at a steady rate. A request that fails
must have been under way when a kill came, in the process that was killed; none may have been begun
twice; and afterwards everything is as it was before.
"""

import http.client
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter

import pytest

from tests.e2e.leftovers import children, wait_until
from tests.e2e.serving import Server, connect, serving
from tests.process.recording import recording
from tests.process.whole import Look, look
from tests.promises.conftest import Report, report  # noqa: F401 - a fixture
from tests.soaking import IS_SOAK, in_soak

APPS = Path(__file__).parent / "apps"

RATE = 200.0 if IS_SOAK else 100.0
"""Requests a second."""
CLIENTS = 10 if IS_SOAK else 5
PAUSES = (0.05, 0.15)
"""Between two kills, in seconds."""
IDLE = 4
"""Environments that are kept."""

KILLS = 200 if IS_SOAK else 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

STARTS: dict[str, tuple[str, ...]] = {
    "forked": (),
    "executed": ("--env", "PYTHONHASHSEED=random"),
    "awslambdaric": ("--runtime-client", "awslambdaric"),
}
"""Ways to start the process of an environment."""


@dataclass
class Answer:
    """What became of a request."""

    path: str
    sent: float
    came: float
    outcome: str

    def spans(self, moment: float) -> bool:
        return self.sent <= moment <= self.came


@dataclass
class Clients:
    """Ask for another path each time, together at a steady rate."""

    server: Server
    answers: list[Answer] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    numbers: "count[int]" = field(default_factory=count)

    def run(self, first: float) -> None:
        due = first
        with closing(connect(self.server)) as connection:
            while not self.is_over.wait(max(0.0, due - perf_counter())):
                self.answers.append(self.ask(connection))
                due += CLIENTS / RATE

    def ask(self, connection: http.client.HTTPConnection) -> Answer:
        path, sent = f"/{next(self.numbers)}", perf_counter()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
            outcome = str(response.status) if body == path else f"{response.status} {body[:60]}"
        except (OSError, http.client.HTTPException) as error:
            outcome = type(error).__name__
            connection.close()
        return Answer(path, sent, perf_counter(), outcome)


@contextmanager
def clients(server: Server) -> Iterator[Clients]:
    """Have clients ask as long as the block lasts."""
    it, now = Clients(server), perf_counter()
    threads = [
        threading.Thread(target=it.run, args=(now + number / RATE,)) for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield it
    finally:
        it.is_over.set()
        for thread in threads:
            thread.join()


def environment_processes(server: Server, way: str) -> list[int]:
    """Return the processes that run handlers: behind the fork server, or beside none."""
    found = children(server.pid)
    return sorted({pid for child in found for pid in children(child)} if way == "forked" else found)


def kill_at_random(server: Server, way: str, draw: random.Random) -> list[tuple[float, int]]:
    """Kill processes one after the other; return when and which."""
    kills = []
    while len(kills) < KILLS:
        threading.Event().wait(draw.uniform(*PAUSES))
        processes = environment_processes(server, way)
        if processes:
            pid = draw.choice(processes)
            moment = perf_counter()
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills.append((moment, pid))
    return kills


@dataclass
class Record:
    """Which process began and ended which request."""

    ready: set[int] = field(default_factory=set)
    """Processes whose init has ended."""
    begun: dict[str, list[int]] = field(default_factory=dict)
    ended: set[tuple[int, str]] = field(default_factory=set)

    def read(self, lines: list[str]) -> None:
        for line in lines:
            what, pid, path = line.split()
            if what == "ready":
                self.ready.add(int(pid))
            elif what == "begin":
                self.begun.setdefault(path, []).append(int(pid))
            else:
                self.ended.add((int(pid), path))


def steady(server: Server, way: str) -> Look:
    """Wait until the pool is at its minimum and nothing is being closed; return what is held."""
    seen: list[Look] = []

    def is_steady() -> bool:
        seen.append(look(server.pid))
        at_minimum = len(environment_processes(server, way)) == IDLE
        return at_minimum and len(seen) > 50 and len({counted(it) for it in seen[-50:]}) == 1

    wait_until(is_steady, lambda: (seen[-3:], environment_processes(server, way)))
    return seen[-1]


def counted(it: Look) -> tuple[int, int, int]:
    return it.descriptors, it.processes, it.listening


@pytest.mark.parametrize("way", ["forked", "awslambdaric", *in_soak("executed")])
def test_kill_costs_the_request_that_runs_and_no_other(
    way: str,
    report: Report,  # noqa: F811
) -> None:
    draw = random.Random(f"kills {way}")
    options = ("--quiet", "--min-environments", str(IDLE), "--idle-environment", "1")
    record = Record()
    with recording() as (pipe, lines):
        settings = ("--env", f"RECORD={pipe}", *STARTS[way], *options)
        with serving("recorded.handler", *settings, code=APPS) as server:
            before = steady(server, way)
            with clients(server) as asked:
                kills = kill_at_random(server, way, draw)
                threading.Event().wait(0.5)
            after = steady(server, way)
        lines.wait_for(rf"end \d+ {asked.answers[-1].path}$")
        record.read(lines())

    failed = [answer for answer in asked.answers if answer.outcome != "200"]
    unhit = [answer for answer in failed if not any(answer.spans(at) for at, _ in kills)]
    killed = {pid for _, pid in kills}
    elsewhere = [
        answer for answer in failed if not killed.issuperset(record.begun.get(answer.path, []))
    ]
    unseen = [answer for answer in failed if answer.path not in record.begun]
    twice = {path: pids for path, pids in record.begun.items() if len(pids) > 1}
    report(
        f"P1 {way}: {len(kills)} kills among {len(asked.answers)} requests: {len(failed)} failed "
        f"in a killed process, {len(unseen)} of them in init or as it received them; others 0"
    )
    assert Counter(answer.outcome.split()[0] for answer in failed).keys() <= {"502"}
    assert (unhit, elsewhere, twice) == ([], [], {})
    # A kill may come between the moment at which an event is read and that at which it is recorded.
    assert len(unseen) <= len(killed - record.ready) + max(1, KILLS // 50)
    assert counted(after) == counted(before)

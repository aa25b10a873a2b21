"""What execution environments cost, beside AWS's Runtime Interface Emulator and a bare Python.

Everything runs in one run, with one function and one client, and takes turns, as in data_path.py:
the ratios of a round count, and of those the median. Here no process is kept to a core. Each
contestant is several processes that wait for each other; on a single core they would only measure
the scheduler.

Linux only: memory and processes are read from /proc.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cpus
from emulator import emulating, installed
from emulator import request_bytes as invocation_bytes
from heads import request_bytes
from load import connect, connected
from process import ROOT, Running, running

CODE = ROOT / "benchmarks" / "servers" / "function"
RENEWALS = "benchmarks/servers/renewals.py"
GATEWAY = (
    *("-m", "gateway", "serve", "app.handler", "--code", str(CODE)),
    *("--port", "0", "--quiet", "--queue-timeout", "30"),
)
ONE, FOUR = (*GATEWAY, "--concurrency", "1"), (*GATEWAY, "--concurrency", "4")
SHORT_LIVED = (*ONE, "--idle-environment", "0.001")
EXECUTED = ("--env", "PYTHONFOO=1")
"""A variable that may act when an interpreter starts: no fork server."""

BARE = (sys.executable, "-c", "import json, socket")

EVENT = {
    "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:1:t/f/0"}},
    "httpMethod": "GET",
    "path": "/any/path",
    "queryStringParameters": {"x": "1"},
    "headers": {"accept": "*/*", "host": "127.0.0.1", "x-forwarded-for": "127.0.0.1"},
    "body": "",
    "isBase64Encoded": False,
}
"""What the gateway makes of the request, near enough."""

HEADERS = 2
CROWDS = (64, 512)
WARM_UP_SECONDS = 0.5
RETIRED_SECONDS = 10
ENVIRONMENTS_PER_RELOAD = 10


@dataclass(frozen=True)
class Goal:
    """What a figure may be."""

    name: str
    figure: float
    limit: float
    is_least: bool = False
    """Whether the limit is the least, not the most."""
    unit: str = "x"

    def is_kept(self) -> bool:
        """Say whether the figure is within its limit."""
        return self.figure >= self.limit if self.is_least else self.figure <= self.limit

    def described(self) -> dict[str, str | float]:
        """Return it as it is saved."""
        sign, word = (">=" if self.is_least else "<="), ("KEPT" if self.is_kept() else "MISSED")
        limit = f"{sign} {self.limit:g} {self.unit}".rstrip()
        return {"name": self.name, "figure": round(self.figure, 3), "goal": limit, "verdict": word}


def goal_line(goal: dict[str, str | float]) -> str:
    """Return a goal as a line of the table."""
    return f"{goal['name']:<58}{goal['figure']:>10}{goal['goal']:>12}  {goal['verdict']}"


@dataclass(frozen=True)
class Case:
    """One load on one contestant."""

    name: str
    server: str
    connections: int


RIE, ONE_AT_1, FOUR_AT_16 = "RIE at 1", "one environment at 1", "four at 16"
CASES = (
    Case(RIE, "rie", 1),
    Case(ONE_AT_1, "one", 1),
    Case(FOUR_AT_16, "four", 16),
    *(Case(f"four at {crowd}", "four", crowd) for crowd in CROWDS),
)


@dataclass(frozen=True)
class Round:
    """One turn of a case; all 0 but the errors when it failed."""

    requests_per_second: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    errors: int = 0


Rounds = dict[str, list[Round]]


@contextmanager
def shared_cores() -> Iterator[None]:
    """Let client and servers run where they like, and the client sleep while it waits."""
    before = cpus.ALLOWED
    if before:
        os.sched_setaffinity(0, before)
    cpus.ALLOWED = set()
    try:
        yield
    finally:
        cpus.ALLOWED = before


def measured(rounds: int, seconds: float, reloads: int) -> dict[str, Any]:
    """Return all figures and goals; without the emulator, what depends on it is left out."""
    with shared_cores():
        load = loaded(rounds, seconds)
        memory = {name: idle_pss_mb(*options) for name, options in MEMORY.items()}
        starts = cold_starts(max(3 * rounds, 5))
        growth = renewed(reloads)
    goals = [*load_goals(load), *start_goals(starts), *memory_goals(memory), *growth_goals(growth)]
    return {
        "load": {name: summary(each) for name, each in load.items()},
        "cold_start_ms": {name: round(statistics.median(each), 2) for name, each in starts.items()},
        "idle_pss_mb": memory,
        "reloads": growth,
        "goals": [goal.described() for goal in goals],
    }


# Load.


def loaded(rounds: int, seconds: float) -> Rounds:
    """Return the rounds of every case."""
    with ExitStack() as stack:
        ports = {
            "one": stack.enter_context(running(*ONE)).port,
            "four": stack.enter_context(running(*FOUR)).port,
        }
        if binary := installed():
            ports["rie"] = stack.enter_context(emulating(binary, CODE, "app.handler"))
        cases = [case for case in CASES if case.server in ports]
        for case in cases:
            turn(ports[case.server], case, WARM_UP_SECONDS)
        results: Rounds = {case.name: [] for case in cases}
        for _ in range(rounds):
            for case in cases:
                results[case.name].append(turn(ports[case.server], case, seconds))
        return results


def turn(port: int, case: Case, seconds: float) -> Round:
    """Load a contestant; any response but the expected one ends its turn and is an error."""
    event = json.dumps(EVENT).encode()
    request = invocation_bytes(event) if case.server == "rie" else request_bytes(HEADERS)
    try:
        with connected(port, request, case.connections) as client:
            load = client.run(seconds)
    except (OSError, RuntimeError) as error:
        print(f"{case.name}: {error}", file=sys.stderr)
        return Round(errors=1)
    rate = len(load.latencies) / load.seconds
    return Round(rate, load.percentile(0.5) * 1e6, load.percentile(0.99) * 1e6)


def summary(rounds: list[Round]) -> dict[str, float]:
    """Return the medians of a case."""
    rates = [each.requests_per_second for each in rounds]
    return {
        "requests_per_second": round(statistics.median(rates)),
        "requests_per_second_min": round(min(rates)),
        "requests_per_second_max": round(max(rates)),
        "p50_us": round(statistics.median(each.p50_us for each in rounds)),
        "p99_us": round(statistics.median(each.p99_us for each in rounds)),
        "errors": sum(each.errors for each in rounds),
    }


def load_goals(load: Rounds) -> Iterator[Goal]:
    """Yield the goals of issue 4 under load."""
    if RIE in load:
        one, four, rie = load[ONE_AT_1], load[FOUR_AT_16], load[RIE]
        rate = "requests_per_second"
        yield Goal(f"{ONE_AT_1}: requests/s", ratio(one, rie, rate), 4, is_least=True)
        yield Goal(f"{ONE_AT_1}: median latency", ratio(one, rie, "p50_us"), 0.33)
        yield Goal(f"{FOUR_AT_16}: requests/s", ratio(four, rie, rate), 10, is_least=True)
    for crowd in CROWDS:
        name = f"four at {crowd}"
        errors = sum(each.errors for each in load[name])
        yield Goal(f"{name}: failed rounds", errors, 0, unit="")


def ratio(own: list[Round], other: list[Round], figure: str) -> float:
    """Return the median of the ratios round by round; 0 where the other one failed."""
    pairs = [(getattr(a, figure), getattr(b, figure)) for a, b in zip(own, other, strict=True)]
    return statistics.median(a / b if b else 0.0 for a, b in pairs)


# Cold starts.


def cold_starts(times: int) -> dict[str, list[float]]:
    """Return ms to the first byte with an empty pool, forked and executed, and of a bare Python."""
    with ExitStack() as stack:
        forked = stack.enter_context(running(*SHORT_LIVED))
        executed = stack.enter_context(running(*SHORT_LIVED, *EXECUTED))
        steps: dict[str, Callable[[], float]] = {
            "bare": bare_start_ms,
            "forked": lambda: first_byte_ms(forked, beside=1),
            "executed": lambda: first_byte_ms(executed, beside=0),
        }
        results: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(times):
            for name, step in steps.items():
                results[name].append(step())
        return results


def bare_start_ms() -> float:
    """Return how long an interpreter takes from its start to its end."""
    started = time.perf_counter()
    subprocess.run(BARE, check=True)
    return (time.perf_counter() - started) * 1000


def first_byte_ms(server: Running, *, beside: int) -> float:
    """Return how long the first byte takes once there are only this many processes beside the
    gateway."""
    wait_until_retired(server.pid, beside)
    with connect(server.port) as connection:
        started = time.perf_counter()
        connection.sendall(request_bytes(HEADERS))
        answer = connection.recv(65536)
        elapsed = time.perf_counter() - started
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"unexpected response: {answer!r}")
    return elapsed * 1000


def wait_until_retired(pid: int, beside: int) -> None:
    """Wait until the pool is empty; raises TimeoutError."""
    deadline = time.monotonic() + RETIRED_SECONDS
    while len(list(below(pid))) > beside:
        if time.monotonic() > deadline:
            raise TimeoutError("idle environments are not retired")
        time.sleep(0.02)
    time.sleep(0.1)  # what is closed is closed


def start_goals(starts: dict[str, list[float]]) -> Iterator[Goal]:
    """Yield the goals of issue 4 for cold starts."""
    for name, limit in (("forked", 0.5), ("executed", 2.0)):
        pairs = zip(starts[name], starts["bare"], strict=True)
        figure = statistics.median(own / bare for own, bare in pairs)
        yield Goal(f"cold start, {name}: beside python -c 'import json, socket'", figure, limit)


# Memory.

MEMORY = {"forked": ONE, "executed": (*ONE, *EXECUTED)}


def idle_pss_mb(*arguments: str) -> float:
    """Return the proportional set size of an environment that has served and is idle."""
    with running(*arguments) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request_bytes(HEADERS))
            connection.recv(65536)
        *_, environment = below(server.pid)
        for line in Path(f"/proc/{environment}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return round(int(line.split()[1]) / 1024, 2)
    raise RuntimeError("no Pss in smaps_rollup")


def memory_goals(memory: dict[str, float]) -> Iterator[Goal]:
    """Yield the goal of issue 4 for memory; the one without a fork server is only reported."""
    yield Goal("PSS of an idle environment, forked", memory["forked"], 10, unit="MB")


def below(pid: int) -> Iterator[int]:
    """Yield the processes below one, parents first."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            yield child
            yield from below(child)


# Growth.


def renewed(reloads: int) -> dict[str, Any]:
    """Reload this many times, ten environments each, and return the counts before and after."""
    numbers = (str(reloads), str(ENVIRONMENTS_PER_RELOAD))
    command = [sys.executable, RENEWALS, str(CODE), *numbers]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, check=True, stdout=subprocess.PIPE, text=True
    )
    environments = reloads * ENVIRONMENTS_PER_RELOAD
    return {"reloads": reloads, "environments": environments, **json.loads(done.stdout)}


def growth_goals(growth: dict[str, Any]) -> Iterator[Goal]:
    """Yield the goals of issue 4 for growth: nothing grows, memory by 5 % at most."""
    before, after = growth["before"], growth["after"]
    title = f"{growth['reloads']} reloads, {growth['environments']} starts"
    figure = after["memory_kb"] / before["memory_kb"]
    yield Goal(f"{title}: memory", figure, 1.05)
    for name in ("descriptors", "processes", "directories", "tasks"):
        yield Goal(f"{title}: more {name}", after[name] - before[name], 0, unit="")

"""What a request costs from socket to socket: server CPU, throughput and latency, as ratios to
uvicorn.

All servers run from the beginning to the end, each a process of its own, and take turns: A B C A B
C ... Absolute figures drift by a third with whatever else the machine does, so what counts is the
ratio to the baseline of the same round, and of those the median. To measure another server, add a
row to SERVERS.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import cpus
from heads import request_bytes
from load import Client, connected
from process import Running, running

GATEWAY = (
    *("-m", "gateway", "serve", "app.handler", "--code", "examples/hello"),
    *("--in-process", "--port", "0", "--quiet"),
)
BASELINE = "baseline"

CONNECTIONS = 32
HEADER_COUNTS = (2, 12)
WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class Server:
    """One server to measure."""

    name: str
    arguments: tuple[str, ...]
    """Of the Python interpreter, in the repository; it prints `listening on http://...`."""
    budget: float | None = None
    """How often the baseline's CPU per request it may cost."""


SERVERS = (
    Server(BASELINE, ("benchmarks/servers/baseline.py",)),
    Server("floor", ("benchmarks/servers/floor.py",)),
    Server("asgi-inline", (*GATEWAY, "--server", "uvicorn", "--threads", "0"), budget=1.7),
    Server("asgi-threads", (*GATEWAY, "--server", "uvicorn"), budget=1.7),
    Server("front-inline", (*GATEWAY, "--threads", "0"), budget=0.95),
    Server("front-threads", GATEWAY, budget=1.3),
)


@dataclass(frozen=True)
class Round:
    """One server's turn."""

    cpu_us: float
    """Server CPU per request."""
    busy: float
    """Share of one core that the server used; well under 1, other jobs or the client held it
    up."""
    requests_per_second: float
    p50_us: float
    p99_us: float


Rounds = dict[str, list[Round]]


def measured(
    rounds: int, seconds: float, servers: tuple[Server, ...] = SERVERS
) -> tuple[dict[str, str], dict[str, Rounds]]:
    """Return what each server announced, and its rounds for every number of headers."""
    with ExitStack() as stack:
        cpus.pin_client()
        started = {each.name: stack.enter_context(running(*each.arguments)) for each in servers}
        results: dict[str, Rounds] = {
            f"{count} headers": {each.name: [] for each in servers} for count in HEADER_COUNTS
        }
        warm_up(started)
        for name, count in turns(rounds, servers):
            one = round_of(started[name], count, seconds)
            results[f"{count} headers"][name].append(one)
        return {name: each.announcement for name, each in started.items()}, results


def warm_up(servers: dict[str, Running]) -> None:
    """Let every server load and specialise its code."""
    for server in servers.values():
        round_of(server, HEADER_COUNTS[0], WARM_UP_SECONDS)


def turns(rounds: int, servers: tuple[Server, ...]) -> Iterator[tuple[str, int]]:
    """Yield the contestant of each turn, and its number of headers."""
    for _ in range(rounds):
        for count in HEADER_COUNTS:
            for server in servers:
                yield server.name, count


def round_of(server: Running, headers: int, seconds: float) -> Round:
    """Load one server and return what it cost."""
    with connected(server.port, request_bytes(headers), CONNECTIONS) as client:
        return loaded(server, client, seconds)


def loaded(server: Running, client: Client, seconds: float) -> Round:
    """Measure while the connections are open already."""
    before = server.cpu_seconds()
    load = client.run(seconds)
    cpu = server.cpu_seconds() - before
    completed = len(load.latencies)
    return Round(
        cpu_us=cpu / completed * 1e6,
        busy=cpu / load.seconds,
        requests_per_second=completed / load.seconds,
        p50_us=load.percentile(0.5) * 1e6,
        p99_us=load.percentile(0.99) * 1e6,
    )


def summary(rounds: Rounds) -> dict[str, dict[str, float]]:
    """Return the figures of one case by server."""
    return {name: figures(each, rounds[BASELINE]) for name, each in rounds.items()}


def figures(rounds: list[Round], baseline: list[Round]) -> dict[str, float]:
    """Return medians and spread of one server, and its ratio to the baseline round by round."""
    costs = [each.cpu_us for each in rounds]
    ratios = [own.cpu_us / base.cpu_us for own, base in zip(rounds, baseline, strict=True)]
    return {
        "cpu_us": round(statistics.median(costs), 2),
        "cpu_us_min": round(min(costs), 2),
        "cpu_us_max": round(max(costs), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "busy": round(statistics.median(each.busy for each in rounds), 2),
        "requests_per_second": round(statistics.median(e.requests_per_second for e in rounds)),
        "p50_us": round(statistics.median(each.p50_us for each in rounds)),
        "p99_us": round(statistics.median(each.p99_us for each in rounds)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    _, measurements = measured(options.rounds, options.seconds)
    print(json.dumps({case: summary(each) for case, each in measurements.items()}, indent=2))

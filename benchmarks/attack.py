"""Honest clients beside attackers: what do slow, malformed, oversized and flooding clients cost
them?

python benchmarks/attack.py [--seconds 60] [--share 0.25] [--idle 2000 ...] [--json]

The gateway serves honest load at half its capacity twice, once while the attackers are at a dumb
sink on the same core and once while they are at the gateway. Compared are the honest clients'
errors and 99th percentiles; then the attackers leave, and what the gateway holds is compared
with what it held before: descriptors, threads, tasks, connections, memory. Each slow client must
have been cut at its limit and one second more. Only loopback is used; whatever it starts is
ended with it.
"""

import argparse
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import cpus
from attackers import KINDS
from load import connected
from process import ROOT, Running, running

BENCHMARKS = ROOT / "benchmarks"
HELLO = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
INSPECT = b"GET /inspect HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
HONEST_CONNECTIONS = 32
SERVED_SHARE = 0.25
"""Of the honest requests, at the least: what is offered was measured a minute before, and a shared
machine may have become slower. Then honest clients wait for each other, which is not an error."""
WARM_UP_SECONDS = 3.0
"""At most, and a quarter of a phase: for the capacity, and for the first crowd."""
READY_SECONDS = 120
SETTLE_SECONDS = 20
SPARE_DESCRIPTORS = 400
MOST_SECONDS = 3600
LEAST_LIMIT, MOST_LIMIT = 8, 20
"""Slow clients arrive over `--opening` seconds, and all must be there at once; 20 s is what the
gateway gives a head by itself."""
LATENCY_FACTOR = 3.0
MEMORY_SHARE, MEMORY_BYTES = 0.05, 8 * 1024 * 1024
CUT_SECONDS = 1.0
NAP_SECONDS = 0.01

Figures = dict[str, Any]
Verdict = tuple[str, bool, str]
"""A promise: its name, whether it was kept, and its figures."""


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    descriptors: int
    threads: int
    rss: int
    objects: dict[str, int]
    """Tasks, connections and transports, as the process itself counts them."""


def held(server: Running) -> Held:
    """Ask the process, to the end of the connection, and then the kernel."""
    response = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(INSPECT)
        while data := connection.recv(65536):
            response += data
    objects = json.loads(response.partition(b"\r\n\r\n")[2])
    return Held(descriptors(server.pid), threads(server.pid), rss(server.pid), objects)


def exact(each: Held) -> Figures:
    """Return what must come back exactly: everything but memory."""
    return {"descriptors": each.descriptors, "threads": each.threads, "objects": each.objects}


def looked(server: Running) -> Iterator[Held]:
    """Look twice a second what the server holds, for as long as it may take to settle."""
    for _ in range(SETTLE_SECONDS * 2):
        yield held(server)
        time.sleep(0.5)
    yield held(server)


def steady(server: Running) -> Held:
    """Return what the server holds once that no longer changes: honest clients have just left."""
    for last, current in pairwise(looked(server)):
        if exact(last) == exact(current):
            return current
    raise RuntimeError("the gateway does not come to rest")


def descriptors(pid: int) -> int:
    """Return how many file descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - thousands of them, 50 times


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def rss(pid: int) -> int:
    """Return a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def gateway_arguments(options: argparse.Namespace) -> list[str]:
    """Return the command line of the gateway, with every limit that slow clients run into."""
    limits = {
        "head_seconds": options.limit,
        "body_grace_seconds": options.limit,
        "stalled_write_seconds": options.limit,
        "connections": 15_000,
        "connections_per_address": 15_000,
    }
    settings = [word for name, value in limits.items() for word in ("--limit", f"{name}={value}")]
    idle = f"idle_timeout.timeout_seconds={options.limit}"
    serve = ["-m", "gateway", "serve", "target.handler", "--in-process"]
    serve += ["--code", "benchmarks/servers"]
    return [*serve, "--port", "0", "--quiet", "--attribute", idle, *settings, *options.serve]


def script(name: str, *arguments: object) -> list[str]:
    """Return the command line of a script of this directory."""
    return [sys.executable, str(BENCHMARKS / name), *map(str, arguments)]


def honest_load(port: int, rate: float, seconds: float) -> Figures:
    """Send honest requests at a rate, every 50th on a fresh connection, and return what came of
    it."""
    settings = ("--connections", HONEST_CONNECTIONS, "--fresh-every", 50)
    command = script("open_loop.py", port, rate, seconds, *settings)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: Figures = json.loads(done.stdout)
    others = {status: each["count"] for status, each in figures["by_status"].items()}
    ok = figures["by_status"].get("200", {"count": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0})
    others.pop("200", None)
    errors = {**others, **figures["errors"]}
    waiting = errors.get("no answer", 0)
    unsent = 0
    if waiting > HONEST_CONNECTIONS + 1 and ok["count"] >= SERVED_SHARE * rate * seconds:
        unsent = errors.pop("no answer")
    return {**ok, "errors": errors, "unsent": unsent, "client_cpu": figures["client_cpu"]}


@contextmanager
def attacking(port: int, options: argparse.Namespace) -> Iterator[Figures]:
    """Attack a port while the block runs; the figures are complete when it has ended."""
    counts = [word for kind in KINDS for word in (f"--{kind}", getattr(options, kind))]
    settings = ("--share", options.share, "--floods", options.floods, "--opening", options.opening)
    command = script("attackers.py", port, *settings, *counts)
    attackers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    figures: Figures = {}
    assert attackers.stdout
    try:
        if not select.select([attackers.stdout], [], [], READY_SECONDS)[0]:
            raise RuntimeError("the attackers are not ready")
        attackers.stdout.readline()
        yield figures
        said, _ = attackers.communicate(timeout=READY_SECONDS)
        figures.update(json.loads(said))
    finally:
        attackers.kill()
        attackers.wait()


class Witness(threading.Thread):
    """Sleeps on the servers' cores and notes how much too late it woke: a delay of the
    machine for all processes is not the gateway's. A context manager."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.latest = 0.0
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()

    def run(self) -> None:
        """Sleep, over and over."""
        if cpus.client_is_alone():
            os.sched_setaffinity(0, cpus.ALLOWED - {cpus.client_cpu()})
        while not self._is_over.is_set():
            due = time.perf_counter() + NAP_SECONDS
            self._is_over.wait(NAP_SECONDS)
            self.latest = max(self.latest, time.perf_counter() - due)


def allowed_growth(before: int) -> float:
    """Return how many bytes of memory may stay."""
    return max(MEMORY_BYTES, MEMORY_SHARE * before)


def settled(server: Running, before: Held) -> Held:
    """Return what the server holds once that is what it was, or in the end."""
    for current in looked(server):
        grown = current.rss - before.rss
        if exact(current) == exact(before) and grown <= allowed_growth(before.rss):
            return current
    return current


def capacity(server: Running, seconds: float) -> float:
    """Return the requests per second that the server gives as many connections at most."""
    with connected(server.port, HELLO, 32) as client:
        load = client.run(seconds)
    return len(load.latencies) / load.seconds


def peak_rss(pid: int) -> int:
    """Return the most resident memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measured(options: argparse.Namespace) -> Figures:
    """Run both phases and return all figures."""
    cpus.pin_client()
    sink = str(BENCHMARKS / "servers" / "sink.py")
    with running(*gateway_arguments(options)) as gateway, running(sink, str(options.limit)) as dumb:
        warm_up = min(WARM_UP_SECONDS, options.seconds / 4)
        most = capacity(gateway, warm_up)
        rate = most * options.load
        fresh = rss(gateway.pid)
        with attacking(gateway.port, options):  # an allocator keeps what a first crowd needs
            honest_load(gateway.port, rate, warm_up)
        before = steady(gateway)
        with attacking(dumb.port, options) as at_sink:
            beside = honest_load(gateway.port, rate, options.seconds)
        cpu = gateway.cpu_seconds()
        with Witness() as witness, attacking(gateway.port, options) as at_gateway:
            under = honest_load(gateway.port, rate, options.seconds)
            cpu = gateway.cpu_seconds() - cpu
        after = settled(gateway, before)
        return {
            "capacity": round(most),
            "rate": round(rate),
            "limit": options.limit,
            "honest_beside_sink": beside,
            "honest_under_attack": under,
            "attackers_at_sink": at_sink,
            "attackers_at_gateway": at_gateway,
            "machine_late": round(witness.latest, 3),
            "gateway_cpu": round(cpu / options.seconds, 3),
            "peak_kb_per_connection": round(
                (peak_rss(gateway.pid) - fresh) / 1024 / max(1, at_gateway["most_open"]), 1
            ),
            "fresh_rss_kb": fresh // 1024,
            "before": vars_of(before),
            "after": vars_of(after),
        }


def vars_of(each: Held) -> Figures:
    """Return the fields of what a process holds."""
    return {
        "descriptors": each.descriptors,
        "threads": each.threads,
        "rss_kb": each.rss // 1024,
        **each.objects,
    }


def verdicts(figures: Figures) -> list[Verdict]:
    """Judge each promise."""
    beside, under = figures["honest_beside_sink"], figures["honest_under_attack"]
    before, after = dict(figures["before"]), dict(figures["after"])
    rss_before, rss_after = before.pop("rss_kb"), after.pop("rss_kb")
    grown = (rss_after - rss_before) * 1024
    ratio = under["p99_ms"] / beside["p99_ms"] if beside["p99_ms"] else float("inf")
    return [
        (
            "errors",
            not under["errors"] and not beside["errors"],
            f"honest errors: {under['errors'] or 0} of {under['count']} requests "
            f"(beside the sink {beside['errors'] or 0} of {beside['count']}); "
            f"not sent, because the machine has become too slow: {under['unsent']} "
            f"({beside['unsent']})",
        ),
        (
            "latency",
            ratio <= LATENCY_FACTOR,
            f"honest p99: {under['p99_ms']} ms under attack, {beside['p99_ms']} ms beside a sink, "
            f"{ratio:.2f} x (<= {LATENCY_FACTOR:g} x)",
        ),
        ("held", before == after, f"held before {before}, afterwards {after}"),
        (
            "memory",
            grown <= allowed_growth(rss_before * 1024),
            f"memory: {figures['fresh_rss_kb']} KB fresh, {rss_before} KB after a first crowd, "
            f"{rss_after} KB after the attack (+ 5 % or 8 MB); "
            f"at most {figures['peak_kb_per_connection']} KB a connection",
        ),
        *cuts(figures["attackers_at_gateway"], figures["limit"], figures["machine_late"]),
        (
            "floods",
            not figures["attackers_at_gateway"]["unexpected"],
            f"floods: {figures['attackers_at_gateway']['floods']}, "
            f"not refused as they should: {figures['attackers_at_gateway']['unexpected'] or 0}",
        ),
    ]


def cuts(attackers: Figures, limit: float, machine_late: float) -> Iterator[Verdict]:
    """Judge when slow clients were cut; how late the attackers look is not the gateway's."""
    late = attackers["longest_turn"] + machine_late
    latest = limit + CUT_SECONDS + late
    for kind, lives in attackers["lives"].items():
        yield (
            kind,
            lives["most"] <= latest,
            f"slow {kind}: {lives['count']} cut after {lives['least']} to {lives['most']} s "
            f"(median {lives['median']}, limit {limit:g} + {CUT_SECONDS:g} s, and {late:.3f} s by "
            f"which attackers and machine were late), "
            f"they saw {lives['said']}",
        )


def fitted(options: argparse.Namespace) -> None:
    """Raise the limit of descriptors; where it is too low, attack with fewer and say so."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = sum(getattr(options, kind) for kind in KINDS)
    if hard == resource.RLIM_INFINITY or wanted + SPARE_DESCRIPTORS <= hard:
        return
    scale = max(0, hard - SPARE_DESCRIPTORS) / wanted
    for kind in KINDS:
        setattr(options, kind, int(getattr(options, kind) * scale))
    print(
        f"only {hard} descriptors are allowed here: slow clients scaled down to {scale:.0%}",
        file=sys.stderr,
    )


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Attack the gateway beside honest load.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two phases")
    parser.add_argument("--share", type=float, default=0.25, help="of one core, for attackers")
    parser.add_argument("--floods", type=float, default=500.0, help="connections a second")
    parser.add_argument("--opening", type=float, default=5.0, help="until slow clients are there")
    parser.add_argument("--load", type=float, default=0.5, help="of the capacity, honest")
    parser.add_argument(
        "--limit", type=int, help="seconds that slow clients get; a third of the time, 8 to 20"
    )
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--head", type=int, default=2000, help="header by header byte")
    parser.add_argument("--body", type=int, default=500, help="body byte by byte")
    parser.add_argument("--read", type=int, default=500, help="do not read their response")
    parser.add_argument("--serve", action="append", default=[], help="argument of gateway serve")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON as well")
    options = parser.parse_args()
    if not 0 < options.seconds <= MOST_SECONDS:
        parser.error(f"up to {MOST_SECONDS} seconds")
    if options.limit is None:
        options.limit = max(LEAST_LIMIT, min(MOST_LIMIT, int(options.seconds / 3)))
    return options


def main() -> None:
    """Measure, print and judge; exit status 1 when a promise was broken."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parsed()
    fitted(options)
    figures = measured(options)
    judged = verdicts(figures)
    if options.json:
        json.dump({**figures, "verdicts": judged}, sys.stdout)
        return
    print(f"capacity {figures['capacity']} req/s, honest load {figures['rate']} req/s")
    for _, is_kept, text in judged:
        print(f"{'kept  ' if is_kept else 'BROKEN'}  {text}")
    sys.exit(not all(is_kept for _, is_kept, _ in judged))


if __name__ == "__main__":
    main()

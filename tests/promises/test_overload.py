"""P16: overload degrades and passes.

The handler waits 40 ms on each of 16 threads, which makes 400 requests a second. Load is offered
open loop at 1, 2, 5 and 10 times that, whether answers come or not; without a soak at 1 and 5.
Goodput and latencies are reported and not enforced; enforced is that each request is served or
refused, that memory is bounded, and that all is as before once the load has gone.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from tests.e2e.serving import DEADLINE_SECONDS, ROOT, Server
from tests.promises.apps.steady import SECONDS
from tests.promises.conftest import Report, Serve
from tests.promises.wire import Wire, get
from tests.soaking import IS_SOAK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="the load generator uses epoll"),
]

APPS = Path(__file__).parent / "apps"
THREADS = 16
CAPACITY = THREADS / SECONDS
OFFERED_SECONDS = 3 if IS_SOAK else 1
FACTORS = [1, 2, 5, 10] if IS_SOAK else [1, 5]
DESCRIPTORS = 4100
NORMAL_ANSWERS = 20
GROWTH_MB = 64
SERVED, REFUSED = "200", "502"

Figures = dict[str, Any]


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Allow children more than a thousand connections: that many requests wait before the first is
    refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < DESCRIPTORS:
        pytest.skip(f"needs {DESCRIPTORS} descriptors, {hard} are allowed (ulimit -Hn)")
    if 0 <= soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(descriptors: None, serve: Serve) -> Server:
    limits = ("--limit", "connections_per_address=5000")
    return serve("steady.handler", "--concurrency", str(THREADS), "--quiet", *limits, code=APPS)


def offered(server: Server, factor: float) -> Figures:
    """Offer this many times the capacity and return what came of it."""
    script = ROOT / "benchmarks" / "open_loop.py"
    arguments = [server.port, CAPACITY * factor, OFFERED_SECONDS, "--connections", 4000]
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=DEADLINE_SECONDS)
    figures: Figures = json.loads(done.stdout)
    return figures


def resident_mb(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


def seconds_until_normal(server: Server) -> float:
    """Wait until answers are as quick as ever, several in a row; return how long that took."""
    started = perf_counter()
    row = 0
    with Wire(server) as wire:
        while row < NORMAL_ANSWERS:
            asked = perf_counter()
            status = wire.ask(get()).status
            row = row + 1 if status == 200 and perf_counter() - asked < 10 * SECONDS else 0
            assert perf_counter() - started < DEADLINE_SECONDS, "answers stay slow"
    return perf_counter() - started


def described(figures: Figures) -> str:
    """Return what happened in a few words."""
    return ", ".join(
        f"{each['count'] / figures['seconds']:.0f}/s {status} "
        f"(p50 {each['p50_ms']:.0f}, p99 {each['p99_ms']:.0f} ms)"
        for status, each in figures["by_status"].items()
    )


@pytest.mark.parametrize("factor", FACTORS)
def test_each_request_is_served_or_refused_at_load(
    server: Server, factor: float, report: Report
) -> None:
    before = resident_mb(server)

    figures = offered(server, factor)
    after = resident_mb(server)
    normal = figures["seconds"] - OFFERED_SECONDS + seconds_until_normal(server)

    by_status = figures["by_status"]
    report(
        f"P16 {factor} x {CAPACITY:.0f}/s: {described(figures)}; {before} MB before, {after} MB "
        f"after, normal {normal:.1f} s after"
    )
    assert figures["errors"] == {}
    assert set(by_status) - {REFUSED} == {SERVED}
    assert sum(each["count"] for each in by_status.values()) == CAPACITY * factor * OFFERED_SECONDS
    assert after <= before + GROWTH_MB

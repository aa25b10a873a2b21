"""P13: honest clients of a real gateway beside eight HTTP/2 attackers that connect again and again.

Every flood runs for a share of SOAK_SECONDS. Errors and memory are enforced; the honest clients'
99th percentile is reported and not enforced: two cores that others use as well measure the others.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.serving import ROOT, Server, environment, gateway_command
from tests.promises.conftest import Report
from tests.promises.h2_attackers import FLOODS
from tests.soaking import IS_SOAK, SOAK_SECONDS

EACH_SECONDS = max(1.0, SOAK_SECONDS / 12)
IN_PROCESS, ENVIRONMENTS = ["--in-process"], list[str]()
CHOSEN = [(IN_PROCESS, list(FLOODS)), (ENVIRONMENTS, list(FLOODS))]
if not IS_SOAK:  # those that once cost most
    CHOSEN = [(IN_PROCESS, ["late reset"]), (ENVIRONMENTS, ["zero window"])]

GROWTH_MB = 64.0
"""For all floods together."""

DEADLINE_SECONDS = 60 + 4 * EACH_SECONDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]


@dataclass(frozen=True)
class Honest:
    """What the honest client has seen."""

    requests: int
    errors: dict[str, int]
    p50_ms: float
    p99_ms: float


class Beside:
    """A command of this package that runs beside the test."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", f"tests.promises.{module}", *map(str, arguments)],
            cwd=ROOT,
            env=environment({}),
            stdout=subprocess.PIPE,
        )

    def result(self) -> dict[str, object]:
        try:
            output, _ = self._child.communicate(timeout=DEADLINE_SECONDS)
        finally:
            if self._child.poll() is None:
                self._child.kill()
                self._child.communicate()
        assert self._child.returncode == 0
        found: dict[str, object] = json.loads(output)
        return found


def honest(beside: Beside) -> Honest:
    found = beside.result()
    took: list[float] = found["took"]  # type: ignore[assignment]
    errors: dict[str, int] = found["errors"]  # type: ignore[assignment]
    p50, p99 = (took[int(len(took) * share)] for share in (0.5, 0.99))
    return Honest(len(took), errors, p50, p99)


def memory_mb(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) / 1024


def attacked(server: Server, name: str, seconds: float) -> tuple[Honest, dict[str, object]]:
    """Return what an honest client sees beside a flood, which begins while it is connected."""
    client = Beside("h2_honest", server.port, seconds)
    attackers = Beside("h2_attackers", server.port, name, seconds, 8)
    return honest(client), attackers.result()


@pytest.mark.parametrize(("way", "floods"), CHOSEN, ids=["in-process", "environments"])
def test_honest_client_loses_nothing_beside_floods(
    way: list[str], floods: list[str], report: Report
) -> None:
    refused = ["--limit", "refused_seconds=1"]  # or all floods but the first meet a closed door
    code = Path(__file__).parent / "apps"
    command = ["serve", "sized.handler", "--code", str(code), "--port", "0", "--https"]
    with Server(gateway_command(*command, *way, *refused)) as server:
        server.wait_until_listening()
        calm = honest(Beside("h2_honest", server.port, EACH_SECONDS))
        before = memory_mb(server.pid, "VmRSS")
        seen = {name: attacked(server, name, EACH_SECONDS) for name in floods}
        growth = memory_mb(server.pid, "VmHWM") - before
        assert server.stop() == 0
        said = server.errors.wait_for_end()

    kind = "in-process" if way else "environments"
    report(f"P13 {kind}, calm: p50 {calm.p50_ms:.1f} ms, p99 {calm.p99_ms:.1f} ms")
    for name, (client, counts) in seen.items():
        figures = (
            f"p50 {client.p50_ms:.1f} ms, p99 {client.p99_ms:.1f} ms, {client.requests} requests"
        )
        report(f"P13 {kind}, {name}: {figures}, errors {client.errors}, attackers {counts}")
    report(f"P13 {kind}: {growth:+.1f} MB for all of them")
    assert [name for name, (_, counts) in seen.items() if not counts.get("connected")] == []
    assert {name: client.errors for name, (client, _) in seen.items()} == {n: {} for n in seen}
    assert growth <= GROWTH_MB
    assert [line for line in said if "connections closed unanswered" not in line] == []

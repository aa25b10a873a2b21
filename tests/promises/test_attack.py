"""P9: a client that is slow, malformed, oversized or a flood does not reach the others.

benchmarks/attack.py runs once, for SOAK_SECONDS in each of its two phases, and each promise that
it judges is a test. The honest clients' 99th percentile is reported and not enforced: two
cores that others use as well measure the others.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import ROOT, environment
from tests.promises.conftest import Report
from tests.soaking import IS_SOAK, SOAK_SECONDS

SECONDS = max(12.0, SOAK_SECONDS) if IS_SOAK else 4.0
BRIEFLY = () if IS_SOAK else ("--limit=2", "--opening=1", "--load=0.2")
"""Without a soak slow clients arrive within a second and are cut after two."""

CROWD = {"idle": 2000, "head": 2000, "body": 500, "read": 500}
CROWD_SECONDS = 60
"""A shorter attack has a smaller crowd."""

DEADLINE_SECONDS = 2 * SECONDS + 240
LEAST_DESCRIPTORS = 1000
"""With fewer there is no crowd; with fewer than 5,400 attack.py makes it smaller and says so."""

CONNECTION_KB = 64

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc"),
    pytest.mark.skipif(
        0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < LEAST_DESCRIPTORS,
        reason=f"needs {LEAST_DESCRIPTORS} descriptors (ulimit -Hn), better 5400",
    ),
]

PROMISES = ["errors", "held", "memory", "floods", "idle", "head", "body", "read"]

Figures = dict[str, Any]


def run(*arguments: str) -> tuple[str, str]:
    """Run the attack to its end and return what it printed; nothing of it is left in any case."""
    command = [sys.executable, str(ROOT / "benchmarks" / "attack.py"), *arguments]
    child = subprocess.Popen(
        command,
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, said = child.communicate(timeout=DEADLINE_SECONDS)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    assert child.returncode == 0, said
    return output, said


@pytest.fixture(scope="module")
def attack() -> Figures:
    """Return the figures of one attack, what it said on the way among them."""
    share = min(1.0, SECONDS / CROWD_SECONDS)
    crowd = [f"--{kind}={count * share:.0f}" for kind, count in CROWD.items()]
    output, said = run("--seconds", f"{SECONDS:g}", "--json", *BRIEFLY, *crowd)
    figures: Figures = json.loads(output)
    verdicts = {name: (is_kept, text) for name, is_kept, text in figures["verdicts"]}
    return {**figures, "verdicts": verdicts, "said": said.strip()}


def test_attack_is_measured(attack: Figures, report: Report) -> None:
    report(
        f"P9 for {SECONDS:g} s, {attack['attackers_at_gateway']['most_open']} attackers at once, "
        f"honest load {attack['rate']} of {attack['capacity']} req/s"
    )
    for line in attack["said"].splitlines():
        report(f"P9 {line}")
    for _, text in attack["verdicts"].values():
        report(f"P9 {text}")

    assert set(attack["verdicts"]) == {*PROMISES, "latency"}


@pytest.mark.parametrize("promise", PROMISES)
def test_attack_breaks_no_promise(attack: Figures, promise: str) -> None:
    is_kept, text = attack["verdicts"].get(promise, (False, "not one of them was cut"))

    assert is_kept, text


def test_connection_of_an_attacker_takes_little_memory(attack: Figures) -> None:
    assert attack["peak_kb_per_connection"] <= CONNECTION_KB

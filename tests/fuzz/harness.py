"""Searches for SOAK_SECONDS for inputs that break a promise, and keeps what it finds.

A harness is a name, a check of some bytes, and where to begin. What fails is made as small as it
gets and becomes a file in tests/data/fuzz/NAME/; every run replays these files first, so that what
was found once is a test from then on; without SOAK_SECONDS it does nothing else, so that a run of
the tests depends on no chance.
"""

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.soaking import SOAK_SECONDS

LONGEST_SECONDS = 1.0
"""CPU time that one input may take (reliability.md, P14)."""

ROUND = 500
"""Inputs after which the search begins again from another random place."""

ROOT = Path(__file__).parent.parent / "data" / "fuzz"

Check = Callable[[bytes], object]


def seeds(name: str) -> list[Path]:
    """Return what was found before."""
    return sorted((ROOT / name).glob("*"))


def checked(check: Check, data: bytes) -> None:
    """Check one input, and that it takes no longer than it may."""
    started = time.process_time()
    check(data)
    assert time.process_time() - started < LONGEST_SECONDS, "too slow"


def keep(name: str, data: bytes) -> Path:
    """Make an input a seed."""
    path = ROOT / name / sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@st.composite
def mutated(draw: st.DrawFn, beginnings: Sequence[bytes], parts: Sequence[bytes]) -> bytes:
    """One of the beginnings with a few bytes exchanged."""
    data = draw(st.sampled_from(beginnings))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.integers(0, 4))
        come = draw(st.sampled_from(parts) | st.binary(max_size=3))
        data = data[:at] + come + data[at + gone :]
    return data


def fuzz(name: str, check: Check, inputs: st.SearchStrategy[bytes]) -> int:
    """Return how many inputs were tried; the first that fails is kept and its error raised."""
    end = time.perf_counter() + SOAK_SECONDS
    tried = 0
    failing: list[bytes] = []

    @settings(
        database=None,
        derandomize=False,
        max_examples=ROUND,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def search(data: bytes) -> None:
        nonlocal tried
        if not failing and time.perf_counter() > end:
            return
        tried += 1
        try:
            checked(check, data)
        except BaseException:
            failing.append(data)
            raise

    while time.perf_counter() < end:
        try:
            search()
        except BaseException as error:
            path = keep(name, failing[-1])
            error.add_note(f"kept as {path}: {failing[-1]!r}")
            raise
    print(f"{name}: {tried} inputs in {SOAK_SECONDS:g} s")
    return tried

"""How long searches and loads run: SOAK_SECONDS, which `make soak` sets; unset, a short form."""

import os

import pytest

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS") or 0)
IS_SOAK = SOAK_SECONDS > 0

soak_only = pytest.mark.skipif(not IS_SOAK, reason="set SOAK_SECONDS, for example to 60")


def run_seconds(short: float) -> float:
    """Return for how long a search or a load runs."""
    return SOAK_SECONDS or short

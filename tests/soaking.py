"""How long searches and loads run: SOAK_SECONDS, which `make soak` sets; unset, a short form."""

import os
from typing import Any

import pytest

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS") or 0)
IS_SOAK = SOAK_SECONDS > 0

soak_only = pytest.mark.skipif(not IS_SOAK, reason="set SOAK_SECONDS, for example to 60")


def in_soak(*values: object) -> list[Any]:
    """Return values of a parameter that only a soak tries, where the others show each promise."""
    return [pytest.param(value, marks=soak_only) for value in values]


def run_seconds(short: float) -> float:
    """Return for how long a search or a load runs."""
    return SOAK_SECONDS or short

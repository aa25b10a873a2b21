"""Moments as text, in UTC; the text of a second is kept, because most lines share it."""

from datetime import UTC, datetime
from functools import lru_cache


def iso(at: float, *, step_us: int = 1) -> str:
    """Return `2026-01-05T10:11:12.345678Z`, cut down to whole steps of microseconds."""
    micros = round(at * 1_000_000)
    second, fraction = divmod(micros - micros % step_us, 1_000_000)
    return f"{_second(second)}.{fraction:06d}Z"


def time_of_day(at: float) -> str:
    """Return `10:11:12`."""
    return _second(int(at))[11:]


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")

"""Moments as text."""

import pytest

from gateway.telemetry.timestamp import iso, time_of_day


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1767607872.345678, "2026-01-05T10:11:12.345678Z"),
        (1767607872.0, "2026-01-05T10:11:12.000000Z"),
        (1767607872.000001, "2026-01-05T10:11:12.000001Z"),
        (1767607872.9999999, "2026-01-05T10:11:13.000000Z"),
        (1767657599.999999, "2026-01-05T23:59:59.999999Z"),
        (1767657600.0, "2026-01-06T00:00:00.000000Z"),
    ],
)
def test_iso_has_six_decimals_and_is_utc(at: float, expected: str) -> None:
    assert iso(at) == expected


@pytest.mark.parametrize("millisecond", range(0, 1000, 37))
def test_a_whole_millisecond_is_not_cut_to_the_one_before(millisecond: int) -> None:
    at = 1767607872 + millisecond / 1000

    assert iso(at, step_us=1000) == f"2026-01-05T10:11:12.{millisecond:03d}000Z"


def test_a_step_cuts_and_does_not_round_up() -> None:
    assert iso(1767607872.345999, step_us=1000) == "2026-01-05T10:11:12.345000Z"


def test_time_of_day() -> None:
    assert time_of_day(1767607872.999) == "10:11:12"

"""Buckets fill, leak and overflow where they must; addresses that flood are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidSetting
from gateway.core.floods import (
    CONTINUATION,
    DATA,
    END_STREAM,
    FIELDS_PER_FRAME,
    HEADERS,
    IDLE_FRAMES,
    IDLE_FRAMES_PER_SECOND,
    PADDED,
    PROGRESS_BYTES,
    QUICK_RESETS,
    REQUEST_FRAMES,
    RESETS_PER_SECOND,
    TINY_BYTES,
    Bucket,
    Calmed,
    Floods,
    cost,
)
from gateway.core.limits import Limits

PING = (0x6, 0, 8)
WINDOW_UPDATE = 0x8


@pytest.mark.parametrize(("amount", "is_over"), [(9, False), (10, False), (11, True)])
def test_bucket_overflows_over_its_capacity(amount: int, *, is_over: bool) -> None:
    assert Bucket(10, 1, 0).is_over(amount, 0) is is_over


@pytest.mark.parametrize(("seconds", "is_over"), [(0.9, True), (1, False), (1.1, False)])
def test_bucket_leaks_with_time(seconds: float, *, is_over: bool) -> None:
    bucket = Bucket(10, 1, 0)
    bucket.is_over(10, 0)

    assert bucket.is_over(1, seconds) is is_over


def test_bucket_saves_nothing_for_later() -> None:
    bucket = Bucket(10, 1, 0)
    bucket.is_over(-100, 0)
    bucket.is_over(0, 1000)

    assert bucket.is_over(11, 1000)


@pytest.mark.parametrize(("capacity", "leak"), [(0, 1), (1, 0)])
def test_bucket_that_holds_nothing_is_refused(capacity: int, leak: int) -> None:
    with pytest.raises(InvalidSetting):
        Bucket(capacity, leak, 0)


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(0, 3))))
def test_bucket_is_over_exactly_when_its_level_is(pours: list[tuple[float, float]]) -> None:
    bucket, level, now = Bucket(10, 2, 0), 0.0, 0.0
    for amount, pause in pours:
        now += pause
        level = max(0.0, max(0.0, level - pause * 2) + amount)

        is_over = bucket.is_over(amount, now)

        assert is_over is (level > 10) or level == pytest.approx(10)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((DATA, 0, 0), 1),
        ((DATA, 0, TINY_BYTES - 1), 1),
        ((DATA, 0, TINY_BYTES), 0),
        ((DATA, 0, TINY_BYTES + 1), 0),
        ((DATA, END_STREAM, 0), 0),
        ((DATA, PADDED, 256), 1),  # nothing but 255 bytes of padding and their length
        ((DATA, PADDED, TINY_BYTES + 255), 1),
        ((DATA, PADDED, TINY_BYTES + 256), 0),
        ((DATA, PADDED | END_STREAM, 256), 0),
        ((HEADERS, 0, 10), 1),
        ((CONTINUATION, 0, 10), 1),
        ((WINDOW_UPDATE, 0, 4), 1),
        (PING, 1),
        ((0x4, 0, 0), 1),
        ((0x2, 0, 5), 1),
        ((0xEE, 0, 5), 1),
    ],
)
def test_only_frames_without_progress_cost(frame: tuple[int, int, int], expected: int) -> None:
    assert cost(*frame) == expected


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_frames_without_progress_are_a_flood_over_their_limit(over: int) -> None:
    floods = Floods(0)

    assert floods.is_idle_flood([PING] * (IDLE_FRAMES + over), 0) is (over > 0)


def test_frames_at_the_rate_that_is_forgiven_never_are() -> None:
    floods = Floods(0)
    second = [PING] * int(IDLE_FRAMES_PER_SECOND)

    assert not any(floods.is_idle_flood(second, now) for now in range(1, 1000))


def test_progress_pays_for_frames() -> None:
    floods = Floods(0)
    floods.is_idle_flood([PING] * IDLE_FRAMES, 0)

    floods.pay(10 * PROGRESS_BYTES, 0)

    assert not floods.is_idle_flood([PING] * 10, 0)
    floods.pay_requests(1, 0)
    assert not floods.is_idle_flood([(HEADERS, 0, 1)] + [PING] * REQUEST_FRAMES, 0)
    assert floods.is_idle_flood([PING], 0)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_heads_without_a_request_bring_no_progress(over: int) -> None:
    heads = [(HEADERS, 0, 1)] * (IDLE_FRAMES + over)

    assert Floods(0).is_idle_flood(heads, 0) is (over > 0)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_resets_are_a_flood_over_their_limit(over: int) -> None:
    floods = Floods(0)

    flooded = [floods.is_reset_flood(0) for _ in range(QUICK_RESETS + over)]

    assert any(flooded) is (over > 0)


def test_resets_at_the_rate_that_is_forgiven_never_are() -> None:
    floods = Floods(0)

    assert not any(floods.is_reset_flood(now / RESETS_PER_SECOND) for now in range(10_000))


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_heads_with_too_many_fields_cost_by_their_fields(over: int) -> None:
    floods = Floods(0)
    most = IDLE_FRAMES * FIELDS_PER_FRAME

    assert not floods.is_field_flood(most // 2, 0)
    assert floods.is_field_flood(most // 2 + over, 0) is (over > 0)


LIMITS = Limits(calmed_connections=3, calmed_seconds=10.0, refused_seconds=30.0)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_address_with_too_many_floods_is_refused(over: int) -> None:
    calmed = Calmed(LIMITS)
    for _ in range(3 + over):
        calmed.count("a", 5.0)

    assert calmed.is_refused("a", 5.0) is (over >= 0)
    assert not calmed.is_refused("b", 5.0)


@pytest.mark.parametrize(("seconds", "is_refused"), [(9.9, True), (10.0, True), (10.1, False)])
def test_floods_count_for_a_while(seconds: float, *, is_refused: bool) -> None:
    calmed = Calmed(LIMITS)
    for now in (0.0, 1.0, seconds):
        calmed.count("a", now)

    assert calmed.is_refused("a", seconds) is is_refused


@pytest.mark.parametrize(("seconds", "is_refused"), [(29.9, True), (30.0, False), (30.1, False)])
def test_address_is_refused_for_a_while(seconds: float, *, is_refused: bool) -> None:
    calmed = Calmed(LIMITS)
    for _ in range(3):
        calmed.count("a", 0.0)

    assert calmed.is_refused("a", seconds) is is_refused
    calmed.forget(seconds)
    assert calmed.is_refused("a", seconds) is is_refused


def test_what_is_too_old_is_forgotten() -> None:
    calmed = Calmed(LIMITS)
    for at in range(3):
        calmed.count("a", at)
    calmed.count("b", 12.0)

    calmed.forget(12.1)
    assert (set(calmed._ended_at), set(calmed._refused_until)) == ({"b"}, {"a"})
    calmed.forget(32.0)
    assert (calmed._ended_at, calmed._refused_until) == ({}, {})

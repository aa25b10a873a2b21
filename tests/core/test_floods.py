"""Buckets fill, leak and overflow where they must; what is held never exceeds its caps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidSetting
from gateway.core.floods import (
    CONCURRENT_STREAMS,
    CONTINUATION,
    DATA,
    END_STREAM,
    HEADERS,
    HELD_BYTES,
    HELD_BYTES_IN_ALL,
    IDLE_FRAMES,
    IDLE_FRAMES_PER_SECOND,
    PADDED,
    PROGRESS_BYTES,
    QUICK_RESETS,
    REQUEST_FRAMES,
    REQUESTS,
    REQUESTS_AT_MOST,
    RESETS,
    RESETS_PER_SECOND,
    TINY_BYTES,
    WINDOW_UPDATE,
    Bucket,
    Floods,
    Held,
    cost,
)

PING = (0x6, 0, 8)


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
        ((HEADERS, 0, 10), -REQUEST_FRAMES),
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
    assert not floods.is_idle_flood([(HEADERS, 0, 1)] + [PING] * REQUEST_FRAMES, 0)
    assert floods.is_idle_flood([PING], 0)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_resets_are_a_flood_over_their_limit(over: int) -> None:
    floods = Floods(0)

    flooded = [floods.is_reset_flood(0) for _ in range(QUICK_RESETS + over)]

    assert any(flooded) is (over > 0)
    assert floods.resets == QUICK_RESETS + over


def test_resets_at_the_rate_that_is_forgiven_never_are() -> None:
    floods = Floods(0)

    assert not any(floods.is_reset_flood(now / RESETS_PER_SECOND) for now in range(10_000))


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_held_bytes_have_a_cap_for_one_and_for_all(over: int) -> None:
    held = Held()
    assert held.has_room(HELD_BYTES - 100, 100 + over) is (over <= 0)

    held.total = HELD_BYTES_IN_ALL - 100
    assert held.has_room(0, 100 + over) is (over <= 0)


class Holding:
    """Holds so much until it is evicted."""

    def __init__(self, held_bytes: int) -> None:
        self.held_bytes = held_bytes

    def evict(self) -> None:
        self.held_bytes = 0


def test_whoever_holds_most_makes_room() -> None:
    held = Held()
    less, most = Holding(1000), Holding(2000)
    held.holders |= {less, most}

    assert held.hog(0, 10) is most
    assert held.hog(1899, 100) is most


@pytest.mark.parametrize("over", [0, 1])
def test_nobody_makes_room_for_one_that_would_hold_as_much(over: int) -> None:
    held = Held()
    held.holders.add(Holding(2000))

    assert held.hog(1900, 100 + over) is None


def test_nobody_makes_room_beyond_the_cap_of_one() -> None:
    held = Held()
    held.holders.add(Holding(2 * HELD_BYTES))

    assert held.hog(HELD_BYTES - 10, 10) is not None
    assert held.hog(HELD_BYTES - 10, 11) is None


def test_nobody_makes_room_where_nobody_holds_anything() -> None:
    assert Held().hog(0, 1) is None


def test_own_limits_come_before_those_of_the_parser() -> None:
    assert REQUESTS < REQUESTS_AT_MOST
    assert REQUESTS_AT_MOST + CONCURRENT_STREAMS < 4_097  # a full set may be on its way
    assert QUICK_RESETS < RESETS < 257

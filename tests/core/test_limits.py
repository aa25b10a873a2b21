"""Every limit just below, at and just above its value, and how limits are set."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from gateway.core.errors import InvalidSetting
from gateway.core.limits import (
    ATTRIBUTES,
    BRIEF_LINGER_SECONDS,
    CHUNKED_OVERHEAD_BYTES,
    CHUNKED_STEP,
    STOP_PAUSE_SECONDS,
    Limits,
    Overdue,
    Phase,
    Progress,
    broken_size,
    has_too_many_fields,
    is_inflated,
    is_too_slow,
    limit_names,
    overdue,
    pauses,
    with_limit,
)

LIMITS = Limits()
NOW = 10_000.0

CLOSE, TIME_OUT, ABORT = Overdue


def progress(phase: Phase, **ago: Any) -> Progress:
    """A connection as fresh as can be, but for the ages in seconds that are given."""
    made = Progress(phase, NOW, NOW, NOW)
    body_bytes = ago.pop("body_bytes", 0)
    for name, seconds in ago.items():
        setattr(made, name, NOW - seconds)
    made.body_bytes = body_bytes
    return made


def test_limits_are_as_documented() -> None:
    assert (LIMITS.line_bytes, LIMITS.head_bytes) == (16_384, 65_536)
    assert (LIMITS.idle_seconds, LIMITS.keep_alive_seconds) == (60, 3600)


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.name)
def test_fresh_connection_is_never_overdue(phase: Phase) -> None:
    assert overdue(progress(phase), LIMITS, NOW) is None


@pytest.mark.parametrize(
    ("phase", "since", "seconds", "asked"),
    [
        (Phase.IDLE, "active_at", LIMITS.idle_seconds, CLOSE),
        (Phase.IDLE, "opened_at", LIMITS.keep_alive_seconds + LIMITS.idle_seconds, CLOSE),
        (Phase.HEAD, "active_at", LIMITS.idle_seconds, TIME_OUT),
        (Phase.HEAD, "began_at", LIMITS.head_seconds, TIME_OUT),
        (Phase.BODY, "active_at", LIMITS.idle_seconds, TIME_OUT),
        (Phase.LINGERING, "active_at", LIMITS.linger_silence_seconds, ABORT),
    ],
)
def test_deadline_is_broken_at_its_moment_and_not_before(
    phase: Phase, since: str, seconds: float, asked: Overdue
) -> None:
    # A body that is silent but not slow must have come fast.
    kept = {"body_bytes": 10**9} if phase is Phase.BODY else {}

    for ago, expected in ((seconds - 1, None), (seconds, asked), (seconds + 1, asked)):
        assert overdue(progress(phase, **kept, **{since: ago}), LIMITS, NOW) is expected


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.name)
def test_client_that_takes_nothing_is_cut_off_in_any_phase(phase: Phase) -> None:
    seconds = LIMITS.stalled_write_seconds

    for ago, expected in ((seconds - 1, None), (seconds, ABORT), (seconds + 1, ABORT)):
        assert overdue(progress(phase, stalled_at=ago), LIMITS, NOW) is expected


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.WRITING], ids=lambda phase: phase.name)
def test_nothing_but_a_stalled_client_ends_a_request_at_work(phase: Phase) -> None:
    ages = {"opened_at": 9999, "active_at": 9999, "began_at": 9999}

    assert overdue(progress(phase, **ages), LIMITS, NOW) is None


def test_linger_at_any_speed_has_its_moment() -> None:
    """The first byte per second that is missing is missed as soon as the time is over."""
    for seconds, expected in ((LIMITS.linger_seconds, None), (LIMITS.linger_seconds + 1, ABORT)):
        assert overdue(progress(Phase.LINGERING, began_at=seconds), LIMITS, NOW) is expected


@pytest.mark.parametrize(("more", "expected"), [(-1, ABORT), (0, None), (1, None)])
def test_linger_must_be_fast_enough_after_its_time(more: int, expected: Overdue | None) -> None:
    enough = int(10 * LIMITS.linger_bytes_per_second)
    lingering = progress(
        Phase.LINGERING, began_at=LIMITS.linger_seconds + 10, body_bytes=enough + more
    )

    assert overdue(lingering, LIMITS, NOW) is expected


def test_linger_lasts_as_long_as_nginx_allows_and_as_promised() -> None:
    assert LIMITS.linger_seconds >= 30
    assert LIMITS.linger_bytes >= 64 * 1024 * 1024
    assert LIMITS.linger_bytes_per_second <= 64 * 1024
    assert LIMITS.linger_silence_seconds >= 5


@pytest.mark.parametrize(
    ("ago", "expected"), [(BRIEF_LINGER_SECONDS - 1, None), (BRIEF_LINGER_SECONDS, ABORT)]
)
def test_brief_linger_has_its_moment(ago: float, expected: Overdue | None) -> None:
    lingering = progress(Phase.LINGERING, began_at=ago, body_bytes=10**9)
    lingering.is_brief = True

    assert overdue(lingering, LIMITS, NOW) is expected


def test_linger_waits_for_what_is_still_to_be_written() -> None:
    lingering = progress(Phase.LINGERING, began_at=LIMITS.linger_seconds, stalled_at=1)

    assert overdue(lingering, LIMITS, NOW) is None


def test_age_alone_closes_no_connection() -> None:
    old = progress(Phase.IDLE, opened_at=LIMITS.keep_alive_seconds + LIMITS.idle_seconds - 1)

    assert overdue(old, LIMITS, NOW) is None


@pytest.mark.parametrize("size", [0, 1])
def test_body_may_come_at_any_speed_in_its_grace(size: int) -> None:
    assert not is_too_slow(progress(Phase.BODY, began_at=10, body_bytes=size), LIMITS, NOW)


@pytest.mark.parametrize(("size", "is_slow"), [(2047, True), (2048, False), (2049, False)])
def test_body_must_come_fast_enough_after_its_grace(size: int, is_slow: bool) -> None:
    body = progress(Phase.BODY, began_at=12, body_bytes=size)

    assert is_too_slow(body, LIMITS, NOW) is is_slow
    assert (overdue(body, LIMITS, NOW) is TIME_OUT) is is_slow


@pytest.mark.parametrize("decoded", [0, 2, 1_048_576])
def test_chunked_body_may_have_a_limited_size_around_it(decoded: int) -> None:
    most = decoded // 2 * 3 + CHUNKED_OVERHEAD_BYTES

    assert not is_inflated(most, decoded)
    assert is_inflated(most + 1, decoded)


def test_a_look_at_a_chunked_body_comes_before_much_can_be_hidden() -> None:
    assert CHUNKED_STEP <= CHUNKED_OVERHEAD_BYTES / 4


SMALL = replace(LIMITS, line_bytes=10, head_bytes=25)


@pytest.mark.parametrize(
    ("lines", "is_first", "status"),
    [
        (b"34567890\r\n\r\n", True, 0),
        (b"234567890\r\n\r\n", True, 414),
        (b"234567890\r\n\r\n", False, 400),
        (b"123456789\n\n", True, 0),
        (b"1234567890\n\n", True, 414),
        (b"1\r\n34567890\r\n\r\n", True, 0),
        (b"1\r\n234567890\r\n\r\n", True, 400),
        (b"234567890\r\n234567890\r\n\r\n", True, 414),
        (b"\n34567890\r\n\r\n", True, 0),
        (b"\n234567890\r\n\r\n", True, 414),
        (b"123456789", True, 0),
        (b"1234567890", True, 414),
        (b"1234567890", False, 400),
        (b"1\r\n123456789", True, 0),
        (b"1\r\n1234567890", True, 400),
        (b"", True, 0),
    ],
)
def test_line_counts_with_its_end_and_one_without_must_get_one(
    lines: bytes, is_first: bool, status: int
) -> None:
    assert broken_size(lines, len(lines), SMALL, is_first=is_first) == status
    assert broken_size(bytearray(lines), len(lines), SMALL, is_first=is_first) == status


@pytest.mark.parametrize(("size", "status"), [(24, 0), (25, 0), (26, 400)])
def test_head_counts_as_a_whole(size: int, status: int) -> None:
    lines = b"GET /a\r\n".ljust(size - 4, b"\n") + b"\r\n\r\n"

    assert broken_size(lines, size, SMALL, is_first=True) == status


def test_request_line_is_looked_at_before_the_whole_head() -> None:
    assert broken_size(30 * b"x" + b"\r\n\r\n", 34, SMALL, is_first=True) == 414


# Settings


def test_limits_that_can_be_set_are_those_without_an_attribute_of_albs() -> None:
    names = limit_names()

    assert names == sorted(names)
    assert {*names, *ATTRIBUTES} == {field.name for field in fields(Limits)}
    assert not {*names} & {*ATTRIBUTES}


@pytest.mark.parametrize("name", limit_names())
def test_every_limit_can_be_set_and_keeps_its_kind(name: str) -> None:
    changed = with_limit(LIMITS, f"{name}=7")

    assert getattr(changed, name) == 7
    assert type(getattr(changed, name)) is type(getattr(LIMITS, name))
    assert replace(changed, **{name: getattr(LIMITS, name)}) == LIMITS


def test_seconds_may_have_a_fraction() -> None:
    assert with_limit(LIMITS, "head_seconds=0.5").head_seconds == 0.5
    assert with_limit(LIMITS, "head_seconds=1e2").head_seconds == 100


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("head_seconds=x", "limit head_seconds is 'x' but must be a number"),
        ("head_seconds=", "limit head_seconds is '' but must be a number"),
        ("head_seconds", "limit head_seconds is '' but must be a number"),
        ("line_bytes=1.5", "limit line_bytes is '1.5' but must be a whole number"),
        ("line_bytes=0", "limit line_bytes is 0 but must be above 0 and below 10^12"),
        ("line_bytes=-1", "limit line_bytes is -1 but must be above 0 and below 10^12"),
        ("head_seconds=nan", "limit head_seconds is nan but must be above 0 and below 10^12"),
        ("head_seconds=inf", "limit head_seconds is inf but must be above 0 and below 10^12"),
        ("idle_seconds=5", "idle_seconds is an attribute of ALB's: --attribute idle_timeout.t"),
    ],
)
def test_setting_that_cannot_be_used_is_refused_with_the_reason(setting: str, text: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        with_limit(LIMITS, setting)

    assert str(caught.value).startswith(text)


def test_unknown_limit_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidSetting) as caught:
        with_limit(LIMITS, "size=5")

    assert str(caught.value) == f"unknown limit 'size'; known are: {', '.join(limit_names())}"


@pytest.mark.parametrize("name", limit_names())
def test_limit_is_above_nothing_and_below_a_million_millions(name: str) -> None:
    least = 1 if isinstance(getattr(LIMITS, name), int) else math.ulp(0.0)

    assert getattr(with_limit(LIMITS, f"{name}={least}"), name) == least
    assert getattr(with_limit(LIMITS, f"{name}={10**12 - 1}"), name) == 10**12 - 1
    with pytest.raises(InvalidSetting):
        with_limit(LIMITS, f"{name}={10**12}")


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("more", [-0.1, 0.0])
def test_only_a_body_pauses_and_only_after_a_while(phase: Phase, more: float) -> None:
    made = progress(phase)

    is_late = pauses(made, NOW + STOP_PAUSE_SECONDS + more)

    assert is_late is (phase is Phase.BODY and more == 0)


@pytest.mark.parametrize("leading", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize(("fields", "is_over"), [(199, False), (200, False), (201, True)])
@pytest.mark.parametrize("field", [b"a:\n", b"name: value\r\n"])
def test_header_fields_are_counted_without_the_lines_around_them(
    leading: bytes, fields: int, is_over: bool, field: bytes
) -> None:
    head = leading + b"GET / HTTP/1.1\r\n" + field * fields + b"\r\n"

    assert has_too_many_fields(head, Limits()) is is_over


def test_small_head_has_too_few_bytes_for_too_many_fields() -> None:
    assert not has_too_many_fields(b"GET / HTTP/1.1\r\n\r\n", Limits())

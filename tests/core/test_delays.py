"""When what keeps failing is started again."""

from gateway.core.delays import LONGEST_DELAY_SECONDS, Pauses, delay_seconds


def test_delay_grows_with_failures_in_a_row_up_to_a_limit() -> None:
    assert [delay_seconds(failures) for failures in (1, 2, 3, 4)] == [0, 1, 2, 4]
    assert delay_seconds(1000) == LONGEST_DELAY_SECONDS


def test_pauses_double_and_end_with_a_success() -> None:
    pauses = Pauses()
    now, starts = 100.0, []
    while len(starts) < 6:
        if pauses.allow(now):
            starts.append(now - 100.0)
            pauses.fail(now)
        now += 0.5

    assert starts == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    pauses.succeed()
    assert pauses.allow(now)


def test_failures_of_one_round_count_once() -> None:
    pauses = Pauses()
    for _ in range(20):
        pauses.fail(1.0)

    assert not pauses.allow(1.5)
    assert pauses.allow(2.0)

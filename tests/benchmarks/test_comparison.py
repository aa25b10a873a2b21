"""The arithmetic, the table and the verdict of `make instructions`."""

import json

from benchmarks.comparison import compared, described, is_within, table

NOW = {"codec": 1020.0, "data path": 2055.0, "start": 7.0, "memory": 5.0}
BEFORE = {"codec": 1000.0, "data path": 2000.0, "memory": 0.0, "gone": 3.0}


def test_figure_at_the_limit_is_within_it_and_one_above_is_not() -> None:
    over = {row.name: (row.ratio, row.is_over) for row in compared(NOW, BEFORE, 1.02)}

    assert over["codec"] == (1.02, False)
    assert over["data path"] == (1.0275, True)


def test_start_and_memory_may_not_grow_beyond_noise() -> None:
    now = {"start": 1004.0, "memory, resident KB": 1006.0, "codec": 1006.0}

    rows = compared(now, dict.fromkeys(now, 1000.0), 1.02)

    assert [row.name for row in rows if row.is_over] == ["memory, resident KB"]


def test_figure_without_a_baseline_has_no_ratio_and_fails_nothing() -> None:
    rows = compared({"start": 7.0, "memory": 5.0}, BEFORE, 1.02)

    assert [(row.ratio, row.is_over) for row in rows] == [(None, False), (None, False)]
    assert is_within(rows)


def test_figures_that_are_not_measured_now_are_left_out() -> None:
    assert [row.name for row in compared(NOW, BEFORE, 1.02)] == list(NOW)


def test_one_figure_over_the_limit_decides() -> None:
    assert not is_within(compared(NOW, BEFORE, 1.02))
    assert is_within(compared(NOW, BEFORE, 1.03))


def test_table_marks_what_is_over_the_limit() -> None:
    lines = [line.split() for line in table(compared(NOW, BEFORE, 1.02)).splitlines()]

    assert lines == [
        ["figure", "now", "before", "ratio"],
        ["codec", "1,020", "1,000", "1.020"],
        ["data", "path", "2,055", "2,000", "1.028", "OVER"],
        ["start", "7", "-", "-"],
        ["memory", "5", "0", "-"],
    ]


def test_json_form_has_every_member_of_a_row() -> None:
    (first, *_) = json.loads(json.dumps(described(compared(NOW, BEFORE, 1.02))))

    assert first == {
        "name": "codec",
        "now": 1020.0,
        "before": 1000.0,
        "ratio": 1.02,
        "is_over": False,
    }

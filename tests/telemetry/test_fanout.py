"""One sink made of several."""

import io
import sys

import pytest

from gateway.core.notices import Notice, OperatorWarning
from gateway.telemetry.fanout import Fanout

FIRST, SECOND = OperatorWarning("one"), OperatorWarning("two")


class Keeping:
    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def emit(self, notice: Notice, /) -> None:
        self.notices.append(notice)


class Failing:
    def emit(self, notice: Notice, /) -> None:
        raise RuntimeError("no room")


def test_every_sink_gets_every_notice() -> None:
    sinks = [Keeping(), Keeping()]
    fanout = Fanout(sinks)

    fanout.emit(FIRST)
    fanout.emit(SECOND)

    assert [sink.notices for sink in sinks] == [[FIRST, SECOND]] * 2


def test_one_that_fails_stops_no_other_and_is_named_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    last = Keeping()
    fanout = Fanout([Failing(), last])

    fanout.emit(FIRST)
    fanout.emit(SECOND)

    assert last.notices == [FIRST, SECOND]
    written = capsys.readouterr().err
    assert written.startswith("Failing failed:\nTraceback ")
    assert written.count("RuntimeError: no room") == 1


def test_each_that_fails_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Fanout([Failing(), Failing()]).emit(FIRST)

    assert capsys.readouterr().err.count("RuntimeError: no room") == 2


def test_a_closed_stderr_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    last = Keeping()

    Fanout([Failing(), last]).emit(FIRST)

    assert last.notices == [FIRST]

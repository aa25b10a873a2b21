"""Lines written by a thread: order, batches, limits, and destinations that fail or are stuck."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest

from gateway.core.errors import InvalidSetting
from gateway.telemetry.writer import LineWriter


class Stuck(io.StringIO):
    """A stream whose first write waits until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.is_entered = Event()
        self.is_released = Event()
        self.writes: list[str] = []
        self.written: SimpleQueue[str] = SimpleQueue()
        self.flushes = 0

    def write(self, text: str, /) -> int:
        self.is_entered.set()
        self.is_released.wait()
        self.writes.append(text)
        self.written.put(text)
        return super().write(text)

    def flush(self) -> None:
        self.flushes += 1


class Full(io.StringIO):
    """A stream on a disk without room."""

    tries = 0

    def write(self, text: str, /) -> int:
        self.tries += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stuck_writer(stream: Stuck, **limits: int) -> LineWriter:
    """Return a writer whose thread is inside the write of a line `first`."""
    writer = LineWriter(stream, **limits)
    writer.write("first")
    stream.is_entered.wait()
    return writer


def test_lines_are_written_in_order() -> None:
    stream = io.StringIO()
    with LineWriter(stream) as writer:
        for number in range(1000):
            writer.write(str(number))

    assert stream.getvalue() == "".join(f"{number}\n" for number in range(1000))


def test_a_path_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for line in ("one", "two"):
        with LineWriter(path) as writer:
            writer.write(line)

    assert path.read_text() == "one\ntwo\n"


def test_a_path_that_cannot_be_opened_is_an_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot be opened"):
        LineWriter(tmp_path / "missing" / "access.log")


def test_a_line_is_written_without_waiting_for_close() -> None:
    stream = Stuck()
    stream.is_released.set()
    with LineWriter(stream) as writer:
        writer.write("line")

        assert stream.is_entered.wait(10)


def test_what_came_meanwhile_is_one_write_and_one_flush() -> None:
    stream = Stuck()
    writer = stuck_writer(stream)
    for line in ("a", "b", "c"):
        writer.write(line)
    stream.is_released.set()
    writer.close()

    assert stream.writes == ["first\n", "a\nb\nc\n"]
    assert stream.flushes == 2


def test_lines_over_the_limit_are_dropped_and_counted() -> None:
    stream = Stuck()
    writer = stuck_writer(stream, line_limit=3)
    for number in range(8):
        writer.write(str(number))
    stream.is_released.set()
    writer.close()

    assert stream.getvalue() == (
        "first\n0\n1\n2\n(5 lines dropped: they came faster than they could be written)\n"
    )


def test_dropped_lines_are_reported_once() -> None:
    stream = Stuck()
    writer = stuck_writer(stream, line_limit=1)
    writer.write("kept")
    writer.write("dropped")
    stream.is_released.set()
    while "dropped:" not in stream.written.get(timeout=10):
        pass
    writer.write("later")
    writer.close()

    assert stream.getvalue().count("dropped:") == 1
    assert stream.getvalue().endswith("\nlater\n")


def test_the_words_for_dropped_lines_can_be_chosen() -> None:
    stream = Stuck()
    writer = LineWriter(stream, line_limit=1, dropped_line='{"dropped":COUNT}')
    writer.write("first")
    stream.is_entered.wait()
    for _ in range(3):
        writer.write("line")
    stream.is_released.set()
    writer.close()

    assert stream.getvalue() == 'first\nline\n{"dropped":2}\n'


def test_long_lines_fill_the_queue_too() -> None:
    stream = Stuck()
    writer = stuck_writer(stream, character_limit=100)
    for _ in range(3):
        writer.write("x" * 60)
    stream.is_released.set()
    writer.close()

    assert stream.getvalue().count("x" * 60) == 2
    assert "(1 lines dropped" in stream.getvalue()


def test_room_comes_back_when_lines_are_taken() -> None:
    stream = Stuck()
    stream.is_released.set()
    with LineWriter(stream, character_limit=100) as writer:
        for letter in "abc":
            writer.write(letter * 99)

            assert stream.written.get(timeout=10) == letter * 99 + "\n"


def test_close_gives_up_on_a_stuck_destination() -> None:
    stream = Stuck()
    writer = stuck_writer(stream)
    closed = []
    writer._output.close = lambda: closed.append(writer)

    writer.close(timeout_seconds=0.01)

    assert stream.writes == closed == []
    stream.is_released.set()
    writer._thread.join()


def test_a_pipe_nobody_reads_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        writer = LineWriter(stream)
        writer.write("x" * 1_000_000)
        for _ in range(20_000):
            writer.write("line")
        writer.close(timeout_seconds=0.01)

        assert writer._thread.is_alive()
        os.close(reading)
        writer._thread.join()
    assert "ends here: [Errno 32] Broken pipe" in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_with_a_stuck_stdout_ends_well() -> None:
    program = (
        "import sys\n"
        "from gateway.telemetry.writer import LineWriter\n"
        "writer = LineWriter(sys.stdout)\n"
        "writer.write('x' * 1_000_000)\n"
        "writer.close(timeout_seconds=0.1)\n"
        "assert writer._thread.is_alive()\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_a_full_disk_is_said_once_and_ends_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Full()
    writer = LineWriter(stream)
    writer.write("lost")
    writer._thread.join()
    writer.write("lost too")

    assert writer._queue.empty()
    writer.close()
    assert stream.tries == 1
    expected = "the log to Full ends here: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == expected


def test_a_stream_closed_by_its_owner_ends_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    stream.close()
    writer.write("lost")
    writer.close()

    assert "ends here: I/O operation on closed file" in capsys.readouterr().err


def test_a_stderr_that_fails_too_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    writer = LineWriter(Full())
    writer.write("lost")
    writer.close()

    assert not writer._thread.is_alive()


def test_what_comes_after_close_is_ignored(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log")
    writer.write("line")
    writer.close()
    writer.write("late")
    writer.close()

    assert (tmp_path / "log").read_text() == "line\n"


def test_close_writes_ten_thousand_lines(tmp_path: Path) -> None:
    with LineWriter(tmp_path / "log", line_limit=10_000) as writer:
        for number in range(10_000):
            writer.write(str(number))

    assert (tmp_path / "log").read_text().splitlines()[-1] == "9999"

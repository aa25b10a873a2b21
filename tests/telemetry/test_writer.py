"""Lines written by a thread: order, batches, limits, and destinations that fail or are stuck."""

import errno
import io
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from time import time_ns

import pytest

from gateway.core.errors import InvalidSetting
from gateway.telemetry.writer import LineWriter, to_stderr


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
    """A stream on a disk without room, until some is made."""

    has_room = False

    def __init__(self) -> None:
        super().__init__()
        self.tries: SimpleQueue[str] = SimpleQueue()

    def write(self, text: str, /) -> int:
        self.tries.put(text)
        if not self.has_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what the writer's thread does."""
    for _ in range(5000):
        if condition():
            return
        Event().wait(0.002)
    raise AssertionError("waited without success")


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


def test_a_pipe_without_a_reader_stops_no_request(capsys: pytest.CaptureFixture[str]) -> None:
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
    said = capsys.readouterr().err
    assert said.count("cannot be written, lines are lost: [Errno 32] Broken pipe") == 1


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


FULL = "the log to Full cannot be written, lines are lost: [Errno 28] No space left on device\n"


def test_a_full_disk_is_said_once_and_what_was_lost_is_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = Full()
    with LineWriter(stream) as writer:
        for number in range(3):
            writer.write(f"lost {number}")
            stream.tries.get(timeout=10)
        wait_until(lambda: writer._lines.lost == 3)
        stream.has_room = True
        writer.write("kept")

    assert stream.getvalue() == "(3 lines lost: No space left on device)\nkept\n"
    assert capsys.readouterr().err == FULL


def test_a_log_that_does_not_recover_says_at_its_end_what_it_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LineWriter(Full()) as writer:
        writer.write("one\ntwo")

    assert capsys.readouterr().err == f"{FULL}the log to Full lacks 2 lines\n"


def test_the_words_for_lost_lines_can_be_chosen() -> None:
    stream = Full()
    with LineWriter(stream, lost_line='{"lost":COUNT,"reason":"REASON"}') as writer:
        writer.write("lost")
        stream.tries.get(timeout=10)
        stream.has_room = True

    assert stream.getvalue() == '{"lost":1,"reason":"No space left on device"}\n'


def test_lines_dropped_while_writing_fails_are_told_afterwards() -> None:
    stream = Full()
    writer = LineWriter(stream, line_limit=0)
    writer.write("dropped")
    writer._queue.put("lost\n")
    stream.tries.get(timeout=10)
    stream.has_room = True
    writer.close()

    lost, _, dropped = stream.getvalue().partition("\n")
    assert lost == "(2 lines lost: No space left on device)"
    assert dropped == ""


def test_a_stream_closed_by_its_owner_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    stream.close()
    writer.write("lost")
    writer.close()

    assert "lines are lost: I/O operation on closed file" in capsys.readouterr().err


def test_a_thread_that_cannot_start_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    with pytest.raises(RuntimeError):
        LineWriter(tmp_path / "log")

    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


ESCAPES = "\x1b[31m\r\x9b\u202e\u2028"


def test_stderr_is_not_driven(capsys: pytest.CaptureFixture[str]) -> None:
    to_stderr(f"a{ESCAPES}b\nc")

    assert capsys.readouterr().err == "a\\x1b[31m\\x0d\\x9b\\u202e\\u2028b\nc\n"


# Real outages. Each breaks a path and repairs it again.


def filled(path: Path) -> Callable[[], None]:
    """Fill a small file system; return what makes room."""
    ballast = path.parent / "ballast"
    with suppress(OSError), ballast.open("wb", 0) as file:
        for _ in range(1000):
            file.write(bytes(4096))
    assert ballast.stat().st_size < 64 * 1024
    return ballast.unlink


def limited(path: Path) -> Callable[[], None]:
    """Let files of this process be no larger than the log is, but for two bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 2, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def turned_into_a_file(path: Path) -> Callable[[], None]:
    """Move the directory away and put a file in its place."""
    path.parent.rename(path.parent.with_name(f"moved-{time_ns()}"))
    path.parent.write_text("")
    return path.parent.unlink


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = tmp_path / "logs"
    folder.mkdir()
    if request.getfixturevalue("broken") is not filled:
        yield folder
        return
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root can mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("broken", [filled, limited, turned_into_a_file])
def test_a_log_recovers_from_an_outage_and_counts_what_was_lost(
    folder: Path, broken: Callable[[Path], Callable[[], None]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "access.log"
    page = "x" * 5000  # more than is left in the last page of the file
    with LineWriter(path) as writer:
        for turn in range(2):
            writer.write(f"before {turn}")
            wait_until(lambda: f"before {turn}\n" in path.read_text())  # noqa: B023
            repair = broken(path)
            for _ in range(3):
                writer.write(page)
            wait_until(lambda: writer._lines.lost == 3)
            repair()
            writer.write(f"after {turn}")
            wait_until(lambda: path.exists() and f"after {turn}\n" in path.read_text())  # noqa: B023

    found = [line for line in path.read_text().splitlines() if not line.startswith("x")]
    lost = [line for line in found if line.startswith("(3 lines lost: ")]
    assert found[-2:] == [lost[-1], "after 1"]
    assert len(lost) == (1 if broken is turned_into_a_file else 2)
    assert capsys.readouterr().err.count("cannot be written") == 2


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "access.log"
    path.parent.mkdir()
    with LineWriter(path) as writer:
        writer.write("one")
        wait_until(lambda: path.read_text() == "one\n")
        shutil.rmtree(path.parent)
        writer.write("two")

    assert path.read_text() == "two\n"


def test_a_named_pipe_whose_reader_comes_back_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with LineWriter(path) as writer:
        os.close(reading)
        writer.write("lost")
        wait_until(lambda: writer._lines.lost == 1)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer.write("kept")
        writer.close()

    assert os.read(reading, 1000) == b"(1 lines lost: Broken pipe)\nkept\n"
    os.close(reading)


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

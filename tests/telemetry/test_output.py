"""Files and streams that lines go to."""

import errno
import io
import os
import select
import stat
from pathlib import Path

import pytest

from gateway.core.errors import InvalidSetting
from gateway.telemetry.output import FileOutput, StreamOutput, Unwritten, output, write_all


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    file = output(str(path))

    file.write("new\n")
    file.close()

    assert path.read_text() == "old\nnew\n"
    assert file.name == str(path)


def test_a_new_file_is_nothing_for_others(tmp_path: Path) -> None:
    path = tmp_path / "log"

    output(path).close()

    assert not stat.S_IMODE(path.stat().st_mode) & 0o137


def test_a_file_moved_away_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = FileOutput(path)
    file.write("one\n")
    path.rename(tmp_path / "log.1")
    file.write("two\n")
    file.write("three\n")
    file.close()

    assert (tmp_path / "log.1").read_text() == "one\n"
    assert path.read_text() == "two\nthree\n"


def test_a_file_replaced_by_another_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = FileOutput(path)
    path.rename(tmp_path / "log.1")
    path.write_text("theirs\n")
    file.write("ours\n")
    file.close()

    assert path.read_text() == "theirs\nours\n"


def test_a_file_that_cannot_be_made_again_raises_and_still_closes(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = FileOutput(folder / "log")
    (folder / "log").unlink()
    folder.rmdir()
    folder.write_text("")

    with pytest.raises(NotADirectoryError):
        file.write("lost\n")
    file.close()


def test_a_directory_that_is_gone_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = FileOutput(folder / "log")
    (folder / "log").unlink()
    folder.rmdir()
    file.write("line\n")
    file.close()

    assert (folder / "log").read_text() == "line\n"


@pytest.mark.parametrize(("room", "lines", "last"), [(0, 3, b""), (3, 3, b"c"), (4, 2, b"\n")])
def test_how_much_could_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, room: int, lines: int, last: bytes
) -> None:
    rooms = iter([room])

    def write(_descriptor: int, data: bytes) -> int:
        for some in rooms:
            if some:
                return some
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(Unwritten, match="No space left") as caught:
        write_all(1, b"abc\ndef\nghi\n")

    assert (caught.value.lines, caught.value.last) == (lines, last)


def test_a_path_that_cannot_be_opened_is_an_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        output(tmp_path / "missing" / "log")

    path = tmp_path / "missing" / "log"
    assert str(caught.value) == f"log file '{path}' cannot be opened: No such file or directory"


def test_a_directory_is_an_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"cannot be opened: Is a directory"):
        output(tmp_path)


def test_a_named_pipe_without_a_reader_is_an_invalid_setting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InvalidSetting, match="cannot be opened"):
        output(tmp_path / "pipe")


def test_what_utf_8_cannot_carry_is_escaped_in_a_file(tmp_path: Path) -> None:
    file = output(tmp_path / "log")
    file.write("é \ud800\n")
    file.close()

    assert (tmp_path / "log").read_bytes() == b"\xc3\xa9 \\ud800\n"


def test_a_stream_is_flushed_and_stays_open() -> None:
    flushed = []

    class Stream(io.StringIO):
        def flush(self) -> None:
            flushed.append(self.getvalue())

    stream = Stream()
    out = output(stream)
    out.write("line\n")
    out.close()

    assert flushed == ["line\n"]
    assert not stream.closed
    assert out.name == "Stream"


def test_what_a_stream_buffered_before_comes_first(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        stream.write("announced\n")
        out = output(stream)
        out.write("line\n")

        assert (tmp_path / "log").read_text() == "announced\nline\n"
        assert out.name == str(tmp_path / "log")


def test_a_stream_gets_the_encoding_it_has(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="latin-1") as stream:
        output(stream).write("é €\n")

    assert (tmp_path / "log").read_bytes() == b"\xe9 \\u20ac\n"


def test_a_stream_in_memory_gets_only_what_it_can_encode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    StreamOutput(stream).write("é\n")

    assert raw.getvalue() == b"\\xe9\n"


def test_a_stream_that_became_non_blocking_gets_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    received = []

    def wait_for_room(*_: object) -> None:
        received.append(os.read(reading, 10_000_000))

    monkeypatch.setattr(select, "select", wait_for_room)
    text = "".join(f"{number}\n" for number in range(50_000))
    with os.fdopen(writing, "w") as stream:
        output(stream).write(text)
    with os.fdopen(reading, "rb") as rest:
        received.append(rest.read())

    assert b"".join(received).decode() == text
    assert len(received) > 2


def test_a_named_pipe_with_a_reader_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    pipe = FileOutput(path)
    pipe.write("line\n")

    assert os.read(reading, 100) == b"line\n"
    assert os.get_blocking(pipe._descriptor)
    pipe.close()
    os.close(reading)


def test_a_pipe_without_reader_raises() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    with pytest.raises(OSError, match="Broken pipe") as caught:
        write_all(writing, b"line\n")
    os.close(writing)

    assert caught.value.errno == errno.EPIPE

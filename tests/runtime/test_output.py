"""Lines that a function prints become entries, within a limit."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.notices import LogEntry
from gateway.runtime.frames import LogFrames
from gateway.runtime.output import (
    EVENT_OVERHEAD_BYTES,
    LINE_BYTES,
    OUTPUT_BYTES,
    Journal,
    Lines,
    drain,
)
from tests.runtime.output import (
    AT,
    entries,
    frame,
    short_lines,
    splits,
    texts,
)


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (b"", []),
        (b"one\n", ["one"]),
        (b"one\ntwo\n", ["one", "two"]),
        (b"no end", ["no end"]),
        (b"one\nno end", ["one", "no end"]),
        (b"\n", [""]),
        (b"\n\nx\n", ["", "", "x"]),
        (b"[ERROR] E: no\rTraceback\r\xc2\xa0 x\n", ["[ERROR] E: no\rTraceback\r\xa0 x"]),
        (b"windows\r\n", ["windows\r"]),
        (b"\xff\xfe\n", ["\ufffd\ufffd"]),
        ("é€😀\n".encode(), ["é€😀"]),
        (b"\0\x1b[2J\n", ["\0\x1b[2J"]),
    ],
)
def test_a_line_is_an_entry(written: bytes, lines: list[str]) -> None:
    assert texts(Lines, written) == lines


def test_a_line_has_the_time_at_which_it_ended() -> None:
    journal = Journal()
    lines = Lines(journal)
    lines.feed(b"one", 1.0)
    lines.feed(b" line\ntwo\nthr", 2.0)
    lines.flush(3.0)

    assert journal.take(4.0) == [
        LogEntry(2.0, "one line"),
        LogEntry(2.0, "two"),
        LogEntry(3.0, "thr"),
    ]


def test_a_line_may_go_on_after_it_was_taken() -> None:
    journal = Journal()
    lines = Lines(journal)
    lines.feed(b"held", 1.0)

    assert journal.take(1.0) == []
    lines.feed(b" on\n", 2.0)
    assert journal.take(2.0) == [LogEntry(2.0, "held on")]


@given(
    data=st.lists(st.sampled_from([b"a", b"bcdefghijk", b"\n", b"\n\n", "é".encode(), b"\xff"])),
    places=st.lists(st.integers(0, 60)),
    limit=st.integers(0, 120),
)
def test_any_split_gives_the_same_lines(data: list[bytes], places: list[int], limit: int) -> None:
    whole = b"".join(data)

    for source in (Lines, short_lines):
        split = entries(source, *splits(whole, places), limit=limit)
        assert split == entries(source, whole, limit=limit)


@pytest.mark.parametrize(("size", "dropped"), [(-1, 0), (0, 0), (1, 1), (5, 5)])
@pytest.mark.parametrize("end", [b"\n", b"", b"\nx\n"])
def test_a_line_is_cut_at_its_limit(size: int, dropped: int, end: bytes) -> None:
    found = texts(short_lines, b"x" * (8 + size) + end)

    assert found[0] == "x" * (8 + min(size, 0))
    report = [f"[gateway] output cut: {dropped} bytes were dropped"] if dropped else []
    assert found[1:] == (["x"] if len(end) > 1 else []) + report


def test_a_later_line_of_a_chunk_is_cut_too() -> None:
    assert texts(short_lines, b"1\n" + b"x" * 9 + b"\n") == [
        "1",
        "x" * 8,
        "[gateway] output cut: 1 bytes were dropped",
    ]


def test_the_largest_event_of_cloudwatch_is_kept_whole() -> None:
    assert LINE_BYTES + EVENT_OVERHEAD_BYTES == OUTPUT_BYTES == 1_048_576
    assert [len(text) for text in texts(Lines, b"x" * LINE_BYTES)] == [LINE_BYTES]


@pytest.mark.parametrize(("size", "kept", "dropped"), [(-1, 9, 0), (0, 10, 0), (1, 10, 1)])
def test_an_invocation_keeps_no_more_than_its_limit(size: int, kept: int, dropped: int) -> None:
    room = 10 + 2 * EVENT_OVERHEAD_BYTES
    found = entries(Lines, b"abc\n" + b"x" * (7 + size) + b"\n", limit=room)

    assert sum(len(entry.text) for entry in found[:2]) == kept
    report = f"[gateway] output cut: {dropped} bytes were dropped"
    assert found[2:] == ([LogEntry(AT, report, "WARN")] if dropped else [])


def test_what_comes_after_the_limit_is_counted_with_its_line_ends() -> None:
    room = 3 + EVENT_OVERHEAD_BYTES
    found = texts(Lines, b"abcd\n12\n34\n", b"56\n", b"7", limit=room)

    assert found == ["abc", "[gateway] output cut: 11 bytes were dropped"]


def test_empty_lines_fill_it_too() -> None:
    found = texts(Lines, b"\n" * OUTPUT_BYTES)

    assert len(found) == OUTPUT_BYTES // EVENT_OVERHEAD_BYTES + 1


def test_the_next_invocation_has_room_again() -> None:
    journal = Journal(3 + EVENT_OVERHEAD_BYTES)
    lines = Lines(journal)
    for text in ("abc", "def"):
        lines.feed(f"{text}\nmore\n".encode(), AT)

        taken = journal.take(AT)
        assert [entry.text for entry in taken[:1]] == [text]
        assert len(taken) == 2
    assert journal.take(AT) == []


def test_lines_and_frames_share_their_room() -> None:
    journal = Journal(4 + 2 * EVENT_OVERHEAD_BYTES)
    lines, frames = Lines(journal), LogFrames(journal)
    lines.feed(b"ab\n", AT)
    frames.feed(frame(b"cde"), AT)
    lines.feed(b"fg\n", AT)

    assert [entry.text for entry in journal.take(AT)] == [
        "ab",
        "cd",
        "[gateway] output cut: 4 bytes were dropped",
    ]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)


def test_an_empty_pipe_gives_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe

    assert drain(reading) == (b"", False)
    os.close(writing)
    assert drain(reading) == (b"", True)


@pytest.mark.parametrize("size", [1, 65535, 65536])
def test_a_pipe_is_read_completely(pipe: tuple[int, int], size: int) -> None:
    reading, writing = pipe
    os.write(writing, b"x" * size)

    assert drain(reading) == (b"x" * size, False)
    os.close(writing)


@pytest.mark.parametrize("limit", [99, 100, 101])
def test_no_more_is_read_than_asked_for(pipe: tuple[int, int], limit: int) -> None:
    reading, writing = pipe
    os.write(writing, b"x" * 100)

    assert drain(reading, limit)[0] == b"x" * min(limit, 100)
    os.close(writing)


def test_the_end_after_the_last_bytes_is_seen(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"last")
    os.close(writing)

    assert drain(reading) == (b"last", False)
    assert drain(reading) == (b"", True)

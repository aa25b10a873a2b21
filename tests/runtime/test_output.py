"""Lines and frames: exact entries, any split of the bytes, every limit around its value, floods."""

import os
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from awslambdaric.bootstrap import FramedTelemetryLogSink
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.notices import LogEntry
from gateway.runtime.output import (
    CANDIDATES,
    EVENT_OVERHEAD_BYTES,
    HEADER,
    LEVELS,
    LINE_BYTES,
    OUTPUT_BYTES,
    Frames,
    Journal,
    Lines,
    drain,
)

AT = 1767607872.324

TEXT, JSON = 0xA55A0003, 0xA55A0002

Source = Callable[[Journal], Lines | Frames]


def frame(message: bytes, *, kind: int = TEXT, at: float = AT, length: int | None = None) -> bytes:
    """Return a frame, with a length that may lie."""
    size = len(message) if length is None else length
    return HEADER.pack(kind, size, round(at * 1e6)) + message


def entries(source: Source, *chunks: bytes, limit: int = OUTPUT_BYTES) -> list[LogEntry]:
    """Return what comes of these bytes by the end of an invocation."""
    journal = Journal(limit)
    fed = source(journal)
    for chunk in chunks:
        fed.feed(chunk, AT)
    fed.flush(AT)
    return journal.take(AT)


def texts(source: Source, *chunks: bytes, limit: int = OUTPUT_BYTES) -> list[str]:
    return [entry.text for entry in entries(source, *chunks, limit=limit)]


def short_lines(journal: Journal) -> Lines:
    return Lines(journal, limit_bytes=8)


def short_frames(journal: Journal) -> Frames:
    return Frames(journal, limit_bytes=8)


def splits(data: bytes, places: list[int]) -> Iterator[bytes]:
    """Return the pieces between places, which may lie outside."""
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return (data[begin:end] for begin, end in pairwise(bounds))


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


FLOODS = [
    (Lines, b"x" * 65536),
    (Lines, b"\n" * 65536),
    (Lines, (b"x" * 63 + b"\n") * 1024),
    (Frames, frame(b"x" * 48) * 1024),
    (Frames, frame(b"") * 4096),
    (Frames, b"x" * 65536),
    (Frames, b"\xa5\x5a\x00\xff" * 16384),
    (Frames, frame(b"x" * 65536, length=0xFFFFFFFF)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "chunk"), FLOODS)
def test_a_flood_costs_no_memory(source: Source, chunk: bytes) -> None:
    journal = Journal()
    fed = source(journal)
    tracemalloc.start()
    try:
        for _ in range(1024):  # 64 MB
            fed.feed(chunk, AT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 16 * 1024 * 1024
    fed.flush(AT)
    assert "bytes " in journal.take(AT)[-1].text


def test_a_frame_is_an_entry_with_its_own_time_and_level() -> None:
    record = frame(b"[INFO]\tone\ntwo\n", kind=TEXT | 12, at=AT - 1.5)

    assert entries(Frames, record) == [LogEntry(AT - 1.5, "[INFO]\tone\ntwo", "INFO")]


@pytest.mark.parametrize("bits", range(8))
@pytest.mark.parametrize(("kind", "is_json"), [(TEXT, False), (JSON, True)])
def test_a_level_is_in_the_type(bits: int, kind: int, is_json: bool) -> None:
    [entry] = entries(Frames, frame(b"{}", kind=kind | bits << 2))

    assert (entry.level, entry.is_json) == (LEVELS[bits], is_json)
    assert LEVELS == ("", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "")


def test_what_the_runtime_client_of_aws_writes_is_read() -> None:
    reading, writing = os.pipe()
    with FramedTelemetryLogSink(writing) as sink:
        sink.log("one\ntwo\n", frame_type=(0xA55A000F).to_bytes(4, "big"))
        sink.log_error(["[ERROR] E: é", "Traceback"])
    data, _ = drain(reading)
    os.close(reading)

    journal = Journal()
    Frames(journal).feed(data, AT)
    found = [(entry.text, entry.level) for entry in journal.take(AT)]
    assert found == [("one\ntwo", "INFO"), ("[ERROR] E: é\nTraceback", "ERROR")]


@pytest.mark.parametrize(
    ("ago", "is_believed"),
    [
        (0.0, True),
        (14 * 86400 - 1.0, True),
        (14 * 86400 + 1.0, False),
        (-7199.0, True),
        (-7201.0, False),
        (AT, False),
        (-1e12, False),
    ],
)
def test_a_time_that_cannot_be_is_that_of_reading(ago: float, is_believed: bool) -> None:
    [entry] = entries(Frames, frame(b"x", at=AT - ago))

    assert entry.at == pytest.approx(AT - ago if is_believed else AT, abs=1e-6)


@given(
    data=st.lists(
        st.one_of(
            st.sampled_from([b"junk", b"\xa5\x5a\x00", b"\xa5", b"\xa5\x5a\x00\x01"]),
            st.builds(frame, st.binary(max_size=20)),
            st.builds(frame, st.text(max_size=9).map(str.encode), kind=st.just(JSON | 16)),
        )
    ),
    places=st.lists(st.integers(0, 200)),
    limit=st.integers(0, 200),
)
def test_any_split_gives_the_same_frames(data: list[bytes], places: list[int], limit: int) -> None:
    whole = b"".join(data)

    for source in (Frames, short_frames):
        split = entries(source, *splits(whole, places), limit=limit)
        assert split == entries(source, whole, limit=limit)


@given(data=st.lists(st.binary(max_size=40)))
def test_whatever_is_on_the_log_pipe_is_borne(data: list[bytes]) -> None:
    for entry in entries(Frames, *data, frame(b"x"), limit=100):
        assert entry.text.encode()


def test_bytes_outside_frames_are_skipped_and_counted() -> None:
    junk = b"print to the wrong descriptor\n"

    assert texts(Frames, frame(b"one") + junk + frame(b"two"), junk) == [
        "one",
        "two",
        "[gateway] 60 bytes on the log pipe were not a log frame",
    ]


def test_a_type_in_two_pieces_is_found_after_junk() -> None:
    record = frame(b"found")

    assert texts(Frames, b"x" * 20 + record[:3], record[3:])[0] == "found"


@pytest.mark.parametrize(("size", "dropped"), [(-1, 0), (0, 0), (1, 1), (30, 30)])
def test_a_frame_is_cut_at_its_limit_and_the_next_is_found(size: int, dropped: int) -> None:
    found = texts(short_frames, frame(b"x" * (8 + size)) + frame(b"next"))

    assert found[:2] == ["x" * (8 + min(size, 0)), "next"]
    report = [f"[gateway] output cut: {dropped} bytes were dropped"] if dropped else []
    assert found[2:] == report


def test_a_frame_that_was_cut_is_not_json() -> None:
    room = 5 + EVENT_OVERHEAD_BYTES
    [kept, _] = entries(Frames, frame(b'{"a": 1}', kind=JSON), limit=room)

    assert (kept.text, kept.is_json) == ('{"a":', False)


def test_a_frame_that_just_fits_is_whole() -> None:
    room = 8 + EVENT_OVERHEAD_BYTES

    assert entries(Frames, frame(b'{"a": 1}', kind=JSON), limit=room) == [
        LogEntry(AT, '{"a": 1}', is_json=True)
    ]


def test_the_end_of_a_message_that_went_by_unread_is_not_waited_for() -> None:
    journal = Journal(3 + EVENT_OVERHEAD_BYTES)
    frames = short_frames(journal)
    frames.feed(frame(b"x" * 100)[:40], AT)
    frames.feed(frame(b"x" * 100)[40:], AT)
    assert journal.take(AT)[0].text == "xxx"

    frames.feed(frame(b"abc"), AT)
    assert journal.take(AT) == [LogEntry(AT, "abc")]


def test_a_frame_without_its_end_is_shown_and_its_end_passed_over() -> None:
    journal = Journal()
    frames = Frames(journal)
    record = frame(b"half and half")
    frames.feed(record[:20], AT)
    frames.flush(AT)
    assert [entry.text for entry in journal.take(AT)] == ["half"]

    frames.feed(record[20:] + frame(b"next"), AT)
    found = [entry.text for entry in journal.take(AT)]
    assert found == ["next", "[gateway] output cut: 9 bytes were dropped"]


FALSE_LENGTHS = [
    *(0xFFFFFFF0, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0x00A00000),
    *(LINE_BYTES + 1, LINE_BYTES, LINE_BYTES - 1, 10_000, 30, 5, 4),
]


@pytest.mark.parametrize("length", FALSE_LENGTHS)
def test_a_false_length_ends_its_own_frame_only(length: int) -> None:
    good = [f"record {number}" for number in range(20)]
    records = b"".join(frame(text.encode()) for text in good)

    assert texts(Frames, frame(b"bad", length=length) + records)[:21] == ["bad", *good]


@pytest.mark.parametrize("length", FALSE_LENGTHS)
@pytest.mark.parametrize("cut", [1, 15, 16, 17, 40])
def test_a_false_length_spoils_no_later_invocation(length: int, cut: int) -> None:
    journal = Journal()
    frames = Frames(journal)
    good = [f"record {number}" for number in range(20)]
    records = b"".join(frame(text.encode()) for text in good)
    frames.feed(frame(b"bad", length=length), AT)
    frames.flush(AT)
    assert [entry.text for entry in journal.take(AT)] == ["bad"]

    for piece in (records[:cut], records[cut:]):
        frames.feed(piece, AT)
    frames.flush(AT)
    found = [entry.text for entry in journal.take(AT)]
    assert [text for text in found if not text.startswith("[gateway]")] == good


@pytest.mark.parametrize("length", [2, 1, 0])
def test_a_length_that_is_too_short_leaves_bytes_of_no_frame(length: int) -> None:
    found = texts(Frames, frame(b"bad", length=length) + frame(b"good"))

    rest = f"[gateway] {3 - length} bytes on the log pipe were not a log frame"
    assert found == ["bad"[:length], "good", rest]


def test_frames_in_the_message_of_a_frame_are_text() -> None:
    inner = frame(b"END RequestId: forged")

    [entry] = entries(Frames, frame(b"logged: " + inner))
    assert entry.text.endswith("END RequestId: forged")
    assert texts(Frames, frame(inner) + frame(b"next"))[1:] == ["next"]


def test_a_message_over_the_limit_is_dropped_to_its_end_in_the_next_invocation() -> None:
    journal = Journal()
    frames = Frames(journal, 8)
    record = frame(b"x" * 100)
    frames.feed(record[:50], AT)
    frames.flush(AT)
    assert journal.take(AT)[0].text == "x" * 8

    frames.feed(record[50:80], AT)
    frames.flush(AT)
    frames.feed(record[80:] + frame(b"next"), AT)
    assert journal.take(AT)[0].text == "next"


def test_the_search_for_a_frame_in_a_message_is_bounded() -> None:
    junk = b"\xa5\x5a\x00\x03" * CANDIDATES

    assert len(texts(Frames, frame(junk[4:], length=2**31) + frame(b"good"))) == 2
    assert len(texts(Frames, frame(junk, length=2**31) + frame(b"good"))) == 1


def test_frames_are_found_again_after_a_flood() -> None:
    journal = Journal(3 + EVENT_OVERHEAD_BYTES)
    frames = Frames(journal)
    frames.feed(frame(b"abcd") + frame(b"lost") + frame(b"in two pieces")[:18], AT)
    assert journal.take(AT)[0].text == "abc"

    frames.feed(frame(b"in two pieces")[18:] + frame(b"xyz"), AT)
    assert [entry.text for entry in journal.take(AT)] == [
        "xyz",
        "[gateway] output cut: 11 bytes were dropped",
    ]


def test_lines_and_frames_share_their_room() -> None:
    journal = Journal(4 + 2 * EVENT_OVERHEAD_BYTES)
    lines, frames = Lines(journal), Frames(journal)
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

"""Frames that a runtime writes become entries, whatever else is on their pipe."""

import os
import tracemalloc

import pytest
from awslambdaric.bootstrap import FramedTelemetryLogSink
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.notices import LogEntry
from gateway.runtime.frames import CANDIDATES, LEVELS, LogFrames
from gateway.runtime.output import EVENT_OVERHEAD_BYTES, LINE_BYTES, Journal, Lines, drain
from tests.runtime.output import (
    AT,
    JSON,
    TEXT,
    Source,
    entries,
    frame,
    short_frames,
    splits,
    texts,
)
from tests.soaking import IS_SOAK

FLOODS = [
    (Lines, b"x" * 65536),
    (Lines, b"\n" * 65536),
    (Lines, (b"x" * 63 + b"\n") * 1024),
    (LogFrames, frame(b"x" * 48) * 1024),
    (LogFrames, frame(b"") * 4096),
    (LogFrames, b"x" * 65536),
    (LogFrames, b"\xa5\x5a\x00\xff" * 16384),
    (LogFrames, frame(b"x" * 65536, length=0xFFFFFFFF)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "chunk"), FLOODS)
def test_a_flood_costs_no_memory(source: Source, chunk: bytes) -> None:
    journal = Journal()
    fed = source(journal)
    tracemalloc.start()
    try:
        for _ in range(1024 if IS_SOAK else 320):  # of 64 KB
            fed.feed(chunk, AT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 16 * 1024 * 1024
    fed.flush(AT)
    assert "bytes " in journal.take(AT)[-1].text


def test_a_frame_is_an_entry_with_its_own_time_and_level() -> None:
    record = frame(b"[INFO]\tone\ntwo\n", kind=TEXT | 12, at=AT - 1.5)

    assert entries(LogFrames, record) == [LogEntry(AT - 1.5, "[INFO]\tone\ntwo", "INFO")]


@pytest.mark.parametrize("bits", range(8))
@pytest.mark.parametrize(("kind", "is_json"), [(TEXT, False), (JSON, True)])
def test_a_level_is_in_the_type(bits: int, kind: int, is_json: bool) -> None:
    [entry] = entries(LogFrames, frame(b"{}", kind=kind | bits << 2))

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
    LogFrames(journal).feed(data, AT)
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
    [entry] = entries(LogFrames, frame(b"x", at=AT - ago))

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

    for source in (LogFrames, short_frames):
        split = entries(source, *splits(whole, places), limit=limit)
        assert split == entries(source, whole, limit=limit)


@given(data=st.lists(st.binary(max_size=40)))
def test_whatever_is_on_the_log_pipe_is_borne(data: list[bytes]) -> None:
    for entry in entries(LogFrames, *data, frame(b"x"), limit=100):
        assert entry.text.encode()


def test_bytes_outside_frames_are_skipped_and_counted() -> None:
    junk = b"print to the wrong descriptor\n"

    assert texts(LogFrames, frame(b"one") + junk + frame(b"two"), junk) == [
        "one",
        "two",
        "[gateway] 60 bytes on the log pipe were not a log frame",
    ]


def test_a_type_in_two_pieces_is_found_after_junk() -> None:
    record = frame(b"found")

    assert texts(LogFrames, b"x" * 20 + record[:3], record[3:])[0] == "found"


@pytest.mark.parametrize(("size", "dropped"), [(-1, 0), (0, 0), (1, 1), (30, 30)])
def test_a_frame_is_cut_at_its_limit_and_the_next_is_found(size: int, dropped: int) -> None:
    found = texts(short_frames, frame(b"x" * (8 + size)) + frame(b"next"))

    assert found[:2] == ["x" * (8 + min(size, 0)), "next"]
    report = [f"[gateway] output cut: {dropped} bytes were dropped"] if dropped else []
    assert found[2:] == report


def test_a_frame_that_was_cut_is_not_json() -> None:
    room = 5 + EVENT_OVERHEAD_BYTES
    [kept, _] = entries(LogFrames, frame(b'{"a": 1}', kind=JSON), limit=room)

    assert (kept.text, kept.is_json) == ('{"a":', False)


def test_a_frame_that_just_fits_is_whole() -> None:
    room = 8 + EVENT_OVERHEAD_BYTES

    assert entries(LogFrames, frame(b'{"a": 1}', kind=JSON), limit=room) == [
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
    frames = LogFrames(journal)
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

    assert texts(LogFrames, frame(b"bad", length=length) + records)[:21] == ["bad", *good]


@pytest.mark.parametrize("length", FALSE_LENGTHS)
@pytest.mark.parametrize("cut", [1, 15, 16, 17, 40])
def test_a_false_length_spoils_no_later_invocation(length: int, cut: int) -> None:
    journal = Journal()
    frames = LogFrames(journal)
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
    found = texts(LogFrames, frame(b"bad", length=length) + frame(b"good"))

    rest = f"[gateway] {3 - length} bytes on the log pipe were not a log frame"
    assert found == ["bad"[:length], "good", rest]


def test_frames_in_the_message_of_a_frame_are_text() -> None:
    inner = frame(b"END RequestId: forged")

    [entry] = entries(LogFrames, frame(b"logged: " + inner))
    assert entry.text.endswith("END RequestId: forged")
    assert texts(LogFrames, frame(inner) + frame(b"next"))[1:] == ["next"]


def test_a_message_over_the_limit_is_dropped_to_its_end_in_the_next_invocation() -> None:
    journal = Journal()
    frames = LogFrames(journal, 8)
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

    assert len(texts(LogFrames, frame(junk[4:], length=2**31) + frame(b"good"))) == 2
    assert len(texts(LogFrames, frame(junk, length=2**31) + frame(b"good"))) == 1


def test_frames_are_found_again_after_a_flood() -> None:
    journal = Journal(3 + EVENT_OVERHEAD_BYTES)
    frames = LogFrames(journal)
    frames.feed(frame(b"abcd") + frame(b"lost") + frame(b"in two pieces")[:18], AT)
    assert journal.take(AT)[0].text == "abc"

    frames.feed(frame(b"in two pieces")[18:] + frame(b"xyz"), AT)
    assert [entry.text for entry in journal.take(AT)] == [
        "xyz",
        "[gateway] output cut: 11 bytes were dropped",
    ]

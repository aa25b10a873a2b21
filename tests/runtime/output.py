"""Function output for tests: frames, and the entries that become of bytes."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from gateway.core.notices import LogEntry
from gateway.runtime.frames import HEADER, LogFrames
from gateway.runtime.output import OUTPUT_BYTES, Journal, Lines

AT = 1767607872.324
TEXT, JSON = 0xA55A0003, 0xA55A0002
Source = Callable[[Journal], Lines | LogFrames]


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


def short_frames(journal: Journal) -> LogFrames:
    return LogFrames(journal, limit_bytes=8)


def splits(data: bytes, places: list[int]) -> Iterator[bytes]:
    """Return the pieces between places, which may lie outside."""
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return (data[begin:end] for begin, end in pairwise(bounds))

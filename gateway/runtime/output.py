"""What comes out of an environment's pipes, as log entries: plain lines, and framed records.

Standard output and standard error are lines (lambda.md 9.1). The log pipe has frames, each with
its type, its length, the time in microseconds and the message, so that a record of several lines
stays one entry (lambda.md 1.9); bytes outside frames are counted and skipped up to the next one.
A length is believed as long as it can be: a frame that is not complete at the end of an invocation,
or behind which no frame begins, ends where the next frame is found in it.

Both add to one Journal, which is taken at the end of an invocation and keeps no more than its
limit: what comes after that is only counted, chunk by chunk, so that a function that writes a
gigabyte costs neither memory nor time.
"""

import os
import re
import struct
from itertools import islice

from gateway.core.notices import LogEntry

EVENT_OVERHEAD_BYTES = 26
"""What CloudWatch Logs adds to the size of every event (API reference, PutLogEvents)."""

LINE_BYTES = 1024 * 1024 - EVENT_OVERHEAD_BYTES
"""What is kept of a line or a frame: since April 2025 an event may have 1 MB, before 256 KB."""

OUTPUT_BYTES = 1024 * 1024
"""What is kept of one invocation, with the overhead of each entry. Ours: on Lambda it is a rate."""

DRAIN_BYTES = 1024 * 1024
"""What is read at once: a full pipe, and not more of a function that never stops writing."""

READ_BYTES = 64 * 1024
"""The size of a pipe on Linux unless it is changed."""

HEADER = struct.Struct(">IIQ")
"""Type, length and microseconds since the epoch."""

# 0xA55A0002 for JSON and 0xA55A0003 for text, with the level in the three bits above.
TYPE = re.compile(b"\xa5\x5a\x00[%s]" % re.escape(bytes(bits for bits in range(32) if bits & 2)))
TYPE_START = b"\xa5\x5a\x00"

LEVELS = ("", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "")

# CloudWatch Logs refuses events outside of these (API reference, PutLogEvents).
OLDEST_SECONDS = 14 * 24 * 3600
NEWEST_SECONDS = 2 * 3600

CANDIDATES = 1000
"""How many places are tried for the begin of a frame in the message of one that is too long."""


class Journal:
    """What an environment wrote since it was last asked, up to a limit in bytes."""

    def __init__(self, limit_bytes: int = OUTPUT_BYTES) -> None:
        self._limit = self._room = limit_bytes
        self._entries: list[LogEntry] = []
        self._dropped = self._garbled = 0
        self.is_full = False

    def add(self, at: float, data: bytes, level: str = "", *, is_json: bool = False) -> None:
        """Keep an entry, or as much of it as there is room for."""
        room = self._room - EVENT_OVERHEAD_BYTES
        if len(data) > room:
            self.is_full, is_json = True, False
            room = max(room, 0)
            self._dropped += len(data) - room
            data = data[:room]
            if not data:
                return
        self._room = room - len(data)
        self._entries.append(LogEntry(at, data.decode(errors="replace"), level, is_json))

    def drop(self, count: int) -> None:
        """Note that this many bytes were not kept."""
        self._dropped += count

    def garble(self, count: int) -> None:
        """Note that this many bytes of the log pipe belonged to no frame."""
        self._garbled += count

    def take(self, at: float) -> list[LogEntry]:
        """Return everything, with a last word about what is missing, and begin again."""
        taken = self._entries
        if not taken and not self._dropped and not self._garbled:
            return []
        if self._garbled:
            text = f"[gateway] {self._garbled} bytes on the log pipe were not a log frame"
            taken.append(LogEntry(at, text, "WARN"))
        if self._dropped:
            text = f"[gateway] output cut: {self._dropped} bytes were dropped"
            taken.append(LogEntry(at, text, "WARN"))
        self._entries, self._room, self.is_full = [], self._limit, False
        self._dropped = self._garbled = 0
        return taken


class Lines:
    """Standard output and standard error: an entry per line, with the time at which it ended."""

    def __init__(self, journal: Journal, limit_bytes: int = LINE_BYTES) -> None:
        self._journal = journal
        self._limit = limit_bytes
        self._partial = bytearray()

    def feed(self, data: bytes, at: float) -> None:
        """Take bytes as they came; only LF ends a line."""
        journal = self._journal
        if journal.is_full:
            journal.drop(len(data))
            return
        end = data.find(b"\n") + 1
        if 0 < end == len(data) <= self._limit and not self._partial:  # 0.7 us instead of 1.4
            journal.add(at, data[:-1])
            return
        if end:
            end = data.rfind(b"\n") + 1
            self._end(data[: end - 1], at)
        self._hold(data[end:])

    def flush(self, at: float) -> None:
        """End the line that has begun, as at the end of an invocation or of a process."""
        if self._partial:
            partial = bytes(self._partial)
            self._partial.clear()
            self._journal.add(at, partial)

    def _end(self, data: bytes, at: float) -> None:
        """Take whole lines, the first of which may have begun earlier."""
        first, *others = data.split(b"\n")
        self._hold(first)
        held = bytes(self._partial)
        self._partial.clear()
        journal = self._journal
        journal.add(at, held)
        for line in others:
            if journal.is_full:
                journal.drop(len(line) + 1)
            else:
                journal.add(at, self._within(line))

    def _hold(self, data: bytes) -> None:
        if self._journal.is_full:
            self._journal.drop(len(data))
            return
        room = self._limit - len(self._partial)
        self._partial += data[:room]
        if len(data) > room:
            self._journal.drop(len(data) - room)

    def _within(self, line: bytes) -> bytes:
        if len(line) > self._limit:
            self._journal.drop(len(line) - self._limit)
            return line[: self._limit]
        return line


class Frames:
    """The log pipe of `_LAMBDA_TELEMETRY_LOG_FD`: an entry per frame, with the frame's time."""

    def __init__(self, journal: Journal, limit_bytes: int = LINE_BYTES) -> None:
        self._journal = journal
        self._limit = limit_bytes
        self._held = bytearray()
        """From the beginning of a frame, unless it is not known where one begins."""
        self._surplus = 0
        """How many bytes are still to come of a message of which no more is kept."""
        self._is_torn = False
        """Whether that message was not complete at the end of an invocation, so that its length is
        in doubt."""
        self._is_lost = False
        """Bytes went by unread while the journal was full."""

    def feed(self, data: bytes, at: float) -> None:
        """Take bytes as they came, at these epoch seconds."""
        if self._journal.is_full:
            self._lose(len(data))
            return
        self._held += data
        self._drop_surplus(at)
        self._read(at)

    def flush(self, at: float) -> None:
        """End the frame that has begun, as at the end of an invocation or of a process."""
        held = self._held
        if self._surplus:
            self._drop(self._surplus)
            self._is_torn = True
        while len(held) > HEADER.size:
            end = self._frame_inside(len(held), at)
            self._add(end, at, is_torn=end == len(held))
            self._read(at)
        if not TYPE_START.startswith(held[: len(TYPE_START)]):
            self._pass_over(len(held))

    def _read(self, at: float) -> None:
        """Add all frames that are complete."""
        while not self._surplus and self._is_at_header() and self._is_added(at):
            if self._journal.is_full:
                self._lose(0)
                return

    def _is_at_header(self) -> bool:
        """Say whether a whole header is there, after skipping bytes outside frames."""
        held = self._held
        if len(held) < HEADER.size:
            return False
        if not TYPE.match(held):
            found = TYPE.search(held)
            # The last three bytes may be the beginning of a type.
            self._pass_over(found.start() if found else len(held) - len(TYPE_START))
        return len(held) >= HEADER.size

    def _is_added(self, at: float) -> bool:
        """Add the frame if as much of it is there as is kept; say whether it was."""
        held = self._held
        length = HEADER.unpack_from(held)[1]
        end = HEADER.size + min(length, self._limit)
        if len(held) < end:
            return False
        is_whole = length <= self._limit
        if is_whole and not TYPE_START.startswith(held[end : end + len(TYPE_START)]):
            end = self._frame_inside(end, at)
        self._add(end, at, is_torn=False)
        return True

    def _add(self, end: int, at: float, *, is_torn: bool) -> None:
        """Add the frame up to this place, and drop what more there is of its message: nothing if
        another frame begins there."""
        kind, length, micros = HEADER.unpack_from(self._held)
        message = bytes(self._held[HEADER.size : end])
        del self._held[:end]  # moves nothing: a bytearray can begin later
        is_cut = len(message) == self._limit
        self._surplus = length - len(message) if is_torn or is_cut else 0
        self._is_torn = is_torn
        self._drop_surplus(at)
        self._is_lost = False
        told = micros / 1_000_000
        level, text = LEVELS[kind >> 2 & 7], message.removesuffix(b"\n")
        self._journal.add(told if is_plausible(told, at) else at, text, level, is_json=not kind & 1)

    def _frame_inside(self, end: int, at: float, begin: int = HEADER.size) -> int:
        """Return where in what is held another frame begins, `end` if none does up to there."""
        held = self._held
        last = end + len(TYPE_START)  # its type may lie across the end
        for found in islice(TYPE.finditer(held, begin, last), CANDIDATES):
            start = found.start()
            if start + HEADER.size <= len(held):
                micros = HEADER.unpack_from(held, start)[2]
                if is_plausible(micros / 1_000_000, at):
                    return start
        return end

    def _drop_surplus(self, at: float) -> None:
        """Drop what there is of a message of which no more is kept, up to the next frame where its
        length is in doubt."""
        if not self._surplus:
            return
        if not self._is_torn:
            self._drop(self._surplus)
            return
        # Without the last bytes, which may be the beginning of a header.
        known = max(0, min(self._surplus, len(self._held) - HEADER.size + 1))
        found = self._frame_inside(known, at, begin=0)
        self._drop(found)
        if found < known:
            self._surplus = 0

    def _drop(self, most: int) -> None:
        count = min(most, self._surplus, len(self._held))
        self._surplus -= count
        del self._held[:count]
        self._journal.drop(count)

    def _pass_over(self, count: int) -> None:
        del self._held[:count]
        if self._is_lost:
            self._journal.drop(count)
        else:
            self._journal.garble(count)

    def _lose(self, count: int) -> None:
        """Drop what is held and this many more bytes, without looking for frames in them."""
        self._journal.drop(len(self._held) + count)
        self._held.clear()
        self._surplus, self._is_lost = 0, True


def is_plausible(told: float, at: float) -> bool:
    """Say whether CloudWatch Logs would take a time, in epoch seconds, as that of an event."""
    return at - OLDEST_SECONDS <= told <= at + NEWEST_SECONDS


def drain(descriptor: int, limit_bytes: int = DRAIN_BYTES) -> tuple[bytes, bool]:
    """Return what is in a non-blocking pipe, up to a limit, and whether the pipe has ended.

    Raises OSError for a descriptor that is not an open pipe.
    """
    parts: list[bytes] = []
    left = limit_bytes
    while left > 0:
        wanted = min(left, READ_BYTES)
        try:
            data = os.read(descriptor, wanted)
        except BlockingIOError:
            break
        if not data:
            return b"".join(parts), True
        parts.append(data)
        if len(data) < wanted:
            break
        left -= len(data)
    return b"".join(parts), False

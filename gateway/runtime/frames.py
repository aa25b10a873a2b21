"""The log pipe of an environment: framed records become log entries.

A frame has its type, its length, the time in microseconds and the message, so that a record of
several lines stays one entry (lambda.md 1.9); bytes outside frames are counted and skipped up to
the next one. A length is believed as long as it can be: a frame that is not complete at the end of
an invocation, or behind which no frame begins, ends where the next frame is found in it.
"""

import re
import struct
from itertools import islice

from gateway.runtime.output import LINE_BYTES, Journal

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


class LogFrames:
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

"""What comes out of an environment's pipes, as log entries.

Standard output and standard error are lines (lambda.md 9.1), the log pipe has frames (frames.py).
Both add to one Journal, which is taken at the end of an invocation and keeps no more than its
limit: what comes after that is only counted, chunk by chunk, so that a function that writes a
gigabyte costs neither memory nor time.
"""

import os

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

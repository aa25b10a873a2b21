"""Lines of text to a file, a pipe or a terminal that may be slow, stuck or gone.

The event loop only appends to an unlocked queue; one daemon thread does everything that can block.
After each batch the thread pauses, so that under load it wakes at most twenty times a second and
not once a line. Where there is a file descriptor it is written to directly: a thread that is stuck
inside a buffered stream holds its lock, and Python aborts at exit when it cannot take that lock.
"""

import contextlib
import os
import select
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Self, TextIO

from gateway.core.errors import InvalidSetting

GATHER_SECONDS = 0.05
"""The pause after a batch; nobody who watches a terminal notices it."""

CLOSE_SECONDS = 2.0

LINE_LIMIT = 10_000
CHARACTER_LIMIT = 16 * 1024 * 1024
"""What may wait to be written; the second one is for functions that print a lot to a terminal that
somebody stopped."""


class LineWriter:
    """Writes lines in the order given, from one thread to one destination; never blocks, never
    raises once it is open.

    `write` is for one thread, the event loop's. A stream given stays its owner's; a path is opened
    here (InvalidSetting when that fails), and again when the file was moved away.
    """

    def __init__(
        self,
        destination: str | Path | TextIO,
        *,
        line_limit: int = LINE_LIMIT,
        character_limit: int = CHARACTER_LIMIT,
        dropped_line: str = "({count} lines dropped: more came than could be written)",
    ) -> None:
        self._out = _File(Path(destination)) if _is_path(destination) else _Stream(destination)
        self._line_limit = line_limit
        self._character_limit = character_limit
        self._dropped_line = dropped_line
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._is_over = False
        self._closing = Event()
        # Each of these four is written by one thread only, so that they need no lock.
        self._accepted = 0
        self._dropped = 0
        self._taken = 0
        self._reported = 0
        self._thread = Thread(target=self._run, name="line-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, line: str, /) -> None:
        """Take a line, or several in one text; drop it when too much is waiting already."""
        if self._is_over:
            return
        if self._is_full():
            self._dropped += 1
            return
        self._accepted += len(line) + 1
        self._queue.put(f"{line}\n")

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> None:
        """Write what is left; give up after the timeout when the destination takes nothing."""
        if self._closing.is_set():
            return
        self._is_over = True
        self._closing.set()
        self._queue.put("")  # wakes the thread
        self._thread.join(timeout_seconds)
        if not self._thread.is_alive():
            self._out.close()

    def _is_full(self) -> bool:
        return (
            self._queue.qsize() >= self._line_limit
            or self._accepted - self._taken >= self._character_limit
        )

    def _run(self) -> None:
        is_last = False
        while not is_last:
            first = self._queue.get()
            is_last = self._closing.is_set()
            if not self._has_delivered(first + self._rest()):
                return
            self._closing.wait(GATHER_SECONDS)

    def _rest(self) -> str:
        return "".join([self._queue.get_nowait() for _ in range(self._queue.qsize())])

    def _has_delivered(self, text: str) -> bool:
        """Write a batch; say so once, on stderr, when that will never work again."""
        self._taken += len(text)
        try:
            self._out.write(text + self._dropped_report())
        except (OSError, ValueError) as error:  # ValueError: the stream was closed under us
            self._is_over = True
            report(f"log to {self._out.name} stops: {error}")
            return False
        return True

    def _dropped_report(self) -> str:
        count = self._dropped - self._reported
        self._reported += count
        return f"{self._dropped_line.replace('{count}', str(count))}\n" if count else ""


def report(line: str) -> None:
    """Write a line to stderr if that is possible at all."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

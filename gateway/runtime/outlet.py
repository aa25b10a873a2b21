"""The pipes that an environment's processes write to, read on the event loop.

They outlive a process: what the next one writes comes through the same two. Whatever a process
wrote before it posted its answer is in them when the answer is read, so `collect` finds it.
"""

import asyncio
import fcntl
import os
import select
from collections.abc import Callable
from contextlib import ExitStack, suppress

from gateway.core.interfaces import Clock
from gateway.core.notices import LogEntry
from gateway.runtime.frames import LogFrames
from gateway.runtime.output import Journal, Lines, drain

PIPE_BYTES = 1024 * 1024
"""What a function can write before it has to wait for the gateway, where the system allows it."""


class Outlet:
    """Standard output and the log pipe of one environment; raises OSError and leaves neither."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._journal = Journal()
        self._lines = Lines(self._journal)
        self._frames = LogFrames(self._journal)
        self._poll = select.poll()  # one call for both, and no exception where nothing is there
        with ExitStack() as undone:
            self._output, self.output = self._opened(undone, self._read_output)
            self._log, self.log = self._opened(undone, self._read_log)
            self._closing = undone.pop_all()

    def _opened(self, undone: ExitStack, read: Callable[[], None]) -> tuple[int, int]:
        """Return a pipe that is read from now on; `undone` closes it."""
        reading, writing = pipe()
        undone.callback(os.close, writing)
        undone.callback(os.close, reading)
        self._poll.register(reading, select.POLLIN)
        self._loop.add_reader(reading, read)
        undone.callback(self._loop.remove_reader, reading)
        return reading, writing

    def collect(self) -> list[LogEntry]:
        """Return what was written since the last time; what has begun ends here."""
        if self._poll.poll(0):
            self._read_output()
            self._read_log()
        now = self._clock.now()
        self._lines.flush(now)
        self._frames.flush(now)
        return self._journal.take(now)

    def close(self) -> None:
        """Close both pipes."""
        self._closing.close()

    def _read_output(self) -> None:
        data, _ = drain(self._output)
        if data:
            self._lines.feed(data, self._clock.now())

    def _read_log(self) -> None:
        data, _ = drain(self._log)
        if data:
            self._frames.feed(data, self._clock.now())


def pipe() -> tuple[int, int]:
    """Return a reading end that does not block and a writing end that does; neither is
    inherited."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with suppress(OSError, AttributeError):  # more than this user may have; not on macOS
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing

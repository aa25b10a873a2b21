"""Where lines go: a file opened here, or a stream that belongs to other code.

A stream with a file descriptor is written to beneath its buffer. Another process may have made that
descriptor non-blocking (Node does it to a terminal it shares); the buffer then raises
BlockingIOError halfway through a text, while here the rest waits for room.
"""

import os
import select
from pathlib import Path
from typing import TextIO

from gateway.core.errors import InvalidSetting

FILE_MODE = 0o640

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class Unwritten(OSError):
    """A text could not be written, or only in part."""

    def __init__(self, error: OSError, lines: int, last: bytes) -> None:
        super().__init__(error.errno, error.strerror)
        self.lines = lines
        """How many line ends were not written."""
        self.last = last
        """The last byte that was written, if any was."""


class FileOutput:
    """Appends to a file, and to a new one after it was moved away (logrotate) or removed."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        try:
            self._descriptor = _open(path)
        except OSError as error:
            raise InvalidSetting(
                f"log file {self.name!r} cannot be opened: {error.strerror}"
            ) from error

    def write(self, text: str, /) -> None:
        """Write it all; waits as long as the file makes it wait. Raises OSError."""
        if self._was_moved():
            self._reopen()
        write_all(self._descriptor, text.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _reopen(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _open(self._path)  # first, so that a failure leaves nothing closed
        stale, self._descriptor = self._descriptor, fresh
        os.close(stale)

    def _was_moved(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True


class StreamOutput:
    """Writes to a text stream, which stays open."""

    def __init__(self, stream: TextIO) -> None:
        self.name = getattr(stream, "name", type(stream).__name__)
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._descriptor = _descriptor(stream)

    def write(self, text: str, /) -> None:
        """Write it all after whatever the stream still buffers; waits as long as it must."""
        encoded = text.encode(self._encoding, "backslashreplace")
        if self._descriptor is None:
            self._stream.write(encoded.decode(self._encoding))
        self._stream.flush()
        if self._descriptor is not None:
            write_all(self._descriptor, encoded)

    def close(self) -> None:
        """Leave the stream to its owner."""


def output(destination: str | Path | TextIO) -> FileOutput | StreamOutput:
    """Return the way to a path or stream; raises InvalidSetting for a path that cannot be
    opened."""
    if isinstance(destination, str | Path):
        return FileOutput(Path(destination))
    return StreamOutput(destination)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, waiting for room also where the descriptor does not; raises Unwritten."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError as error:
            written = len(data) - len(rest)
            lines, last = data.count(b"\n", written), data[max(0, written - 1) : written]
            raise Unwritten(error, lines, last) from error


def _open(path: Path) -> int:
    """Open for appending; a named pipe without a reader is an error and not a wait."""
    descriptor = os.open(path, FLAGS | os.O_NONBLOCK, FILE_MODE)
    os.set_blocking(descriptor, True)
    return descriptor


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # io.UnsupportedOperation: a stream in memory
        return None

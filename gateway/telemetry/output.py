"""Where lines go: a file opened here, or a stream that belongs to somebody else.

A stream with a file descriptor is written to beneath its buffer. Somebody else may have made that
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


class FileOutput:
    """Appends to a file, and to the new one after somebody moved it away (logrotate)."""

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
        """Write it all; waits as long as the file makes it wait."""
        if self._was_moved():
            self._reopen()
        write_all(self._descriptor, text.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _reopen(self) -> None:
        fresh = _open(self._path)  # first, so that a failure leaves nothing closed
        os.close(self._descriptor)
        self._descriptor = fresh

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
    """Write every byte, waiting for room also where the descriptor does not."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


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

"""Where a function's log goes beside the terminal: a file per log stream, or JSON lines.

All files of a directory are written by the one thread of a LineWriter: an environment more costs
no thread, and neither opening nor writing a file ever holds up the event loop. Each text handed to
it begins with the file's path between two NUL characters.
"""

import io
import re
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Self, TextIO, cast

from gateway.core.errors import InvalidSetting
from gateway.core.logging_config import TEXT, LoggingConfig
from gateway.core.notices import InitReported, InitStarted, InvocationReported, LogEntry, Notice
from gateway.core.report import entries
from gateway.telemetry.json_line import object_line
from gateway.telemetry.output import FileOutput
from gateway.telemetry.timestamp import iso
from gateway.telemetry.writer import LineWriter

OPEN_FILES = 64
"""The file that was not written to for longest is closed for another one."""

NAME_LIMIT = 200
"""Characters of a file's or directory's name; file systems take 255 bytes."""

UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")

DROPPED = "dropped.log"
"""Where it says in a directory that lines were dropped."""


class FunctionLogs:
    """Appends to `DIRECTORY/GROUP/STREAM.log` what CloudWatch Logs would get; a Sink.

    Lines look as `aws logs tail` prints them, without the name of the stream. Raises InvalidSetting
    when there can be no such directory.
    """

    def __init__(self, directory: Path, config: LoggingConfig = TEXT) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSetting(
                f"function logs {str(directory)!r} cannot be kept: {error.strerror}"
            ) from error
        self._config = config
        self._files = Files(directory)
        self._writer = LineWriter(
            cast("TextIO", self._files), dropped_line=f"\0{DROPPED}\0(COUNT reports were dropped)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def emit(self, notice: Notice, /) -> None:
        """Write what the notice adds to the log of its environment, if it does."""
        if not isinstance(notice, InvocationReported | InitReported | InitStarted):
            return
        if found := entries(notice, self._config):
            path = file_name(notice.stream.group, notice.stream.name)
            self._writer.write(f"\0{path}\0" + "\n".join(map(tail_line, found)))

    def close(self) -> None:
        """Write what is left and close the files, unless the disk is stuck."""
        self._writer.close()
        self._files.close_all()


class FunctionLogLines:
    """Writes each entry of functions' logs as a JSON object; a Sink."""

    def __init__(self, writer: LineWriter, config: LoggingConfig = TEXT) -> None:
        self._write = writer.write
        self._config = config

    def emit(self, notice: Notice, /) -> None:
        """Write a line per entry."""
        if not isinstance(notice, InvocationReported | InitReported | InitStarted):
            return
        stream = notice.stream
        for entry in entries(notice, self._config):
            members = {
                "type": "FunctionLog",
                "time": iso(entry.at),
                "log_group": stream.group,
                "log_stream": stream.name,
                "level": entry.level or None,
                "message": entry.text,
            }
            self._write(object_line(members))


class Files(io.TextIOBase):
    """The files of a directory as one text stream, for the thread of a LineWriter."""

    encoding = "utf-8"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.name = str(directory)
        self._directory = directory
        self._open: OrderedDict[str, FileOutput] = OrderedDict()
        self._lock = Lock()

    def write(self, text: str, /) -> int:
        """Append each part of a text to the file that it names; raises OSError."""
        _, *parts = text.split("\0")
        gathered: dict[str, list[str]] = {}
        for name, part in zip(parts[::2], parts[1::2], strict=True):
            gathered.setdefault(name, []).append(part)
        with self._lock:
            for name, lines in gathered.items():
                self._file(name).write("".join(lines))
        return len(text)

    def close_all(self) -> None:
        """Close the files, or leave them when the thread is stuck in writing one."""
        if self._lock.acquire(blocking=False):
            while self._open:
                self._open.popitem()[1].close()
            self._lock.release()

    def _file(self, name: str) -> FileOutput:
        file = self._open.get(name)
        if file is None:
            if len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            file = self._open[name] = self._opened(self._directory / name)
        self._open.move_to_end(name)
        return file

    @staticmethod
    def _opened(path: Path) -> FileOutput:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return FileOutput(path)
        except InvalidSetting as error:
            raise OSError(str(error)) from error


def tail_line(entry: LogEntry) -> str:
    """Return an entry as `aws logs tail` prints it; a NUL is shown."""
    text = entry.text.replace("\0", "\\x00")
    return f"{stamp(entry.at)} {text}"


@lru_cache(maxsize=64)
def stamp(at: float) -> str:
    """Return `2026-10-08T07:30:27.768000+00:00`; lines that were read at once share it."""
    return f"{iso(at, step_us=1000)[:-1]}+00:00"


@lru_cache(maxsize=1024)
def file_name(group: str, stream: str) -> str:
    """Return the path of a stream's file in a directory: plain characters, two levels, no way
    out."""
    return f"{safe_name(group)}/{safe_name(stream)}.log"


def safe_name(name: str) -> str:
    """Return a name for a file or directory that means nothing to a shell or a file system."""
    return UNSAFE.sub("_", name).strip("_.-")[:NAME_LIMIT] or "_"

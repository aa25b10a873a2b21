"""Where a function's log goes beside the terminal: a file per log stream, or JSON lines.

All files of a directory are written by the one thread of a LineWriter: an environment more costs
no thread, and neither opening nor writing a file ever holds up the event loop. Each text handed to
it begins with the file's path between two NUL characters.
"""

import io
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Self, TextIO, cast

from gateway.core.errors import InvalidSetting
from gateway.core.logging_config import TEXT, LoggingConfig
from gateway.core.notices import InitReported, InitStarted, InvocationReported, LogEntry, Notice
from gateway.core.report import entries
from gateway.telemetry.output import FileOutput
from gateway.telemetry.recovery import Recovering
from gateway.telemetry.timestamp import iso
from gateway.telemetry.visible import INDENT, visible, visible_json
from gateway.telemetry.writer import LineWriter, to_stderr

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

    def __init__(self, directory: Path, configs: Mapping[str, LoggingConfig] | None = None) -> None:
        """Take the logging configurations by function name; plain text is the default."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSetting(
                f"function logs {str(directory)!r} cannot be kept: {error.strerror}"
            ) from error
        self._configs = configs or {}
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
        config = self._configs.get(notice.stream.function_name, TEXT)
        if found := entries(notice, config):
            path = file_name(notice.stream.group, notice.stream.name)
            self._writer.write(f"\0{path}\0" + "\n".join(map(tail_line, found)))

    def close(self) -> None:
        """Write what is left and close the files, unless the disk is stuck."""
        self._writer.close()
        self._files.close_all()


class Files(io.TextIOBase):
    """The files of a directory as one text stream, for the thread of a LineWriter."""

    encoding = "utf-8"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.name = str(directory)
        self._directory = directory
        self._open: OrderedDict[str, LogFile] = OrderedDict()
        self._is_failing = False
        """Whether it was said that a file cannot be written."""
        self._unsaid = 0
        """Lines lost of files that are closed."""
        self._lock = Lock()

    def write(self, text: str, /) -> int:
        """Append each part of a text to the file that it names; what cannot be written is counted
        there."""
        _, *parts = text.split("\0")
        gathered: dict[str, list[str]] = {}
        for name, part in zip(parts[::2], parts[1::2], strict=True):
            gathered.setdefault(name, []).append(part)
        with self._lock:
            written = [
                self._file(name).lines.write("".join(lines)) for name, lines in gathered.items()
            ]
            if all(written):
                self._is_failing = False
                self._say_what_is_lost()
        return len(text)

    def close_all(self) -> None:
        """Close the files, or leave them when the thread is stuck in writing one."""
        if self._lock.acquire(blocking=False):
            while self._open:
                self._close(self._open.popitem()[1])
            if self._unsaid:
                to_stderr(f"function logs in {self.name} lack {self._unsaid} lines")
            self._lock.release()

    def _file(self, name: str) -> "LogFile":
        file = self._open.get(name)
        if file is None:
            if len(self._open) >= OPEN_FILES:
                self._close(self._open.popitem(last=False)[1])
            file = self._open[name] = LogFile(self._directory / name, self._fail)
        self._open.move_to_end(name)
        return file

    def _close(self, file: "LogFile") -> None:
        file.close()
        self._unsaid += file.lines.lost

    def _say_what_is_lost(self) -> None:
        """Say in the directory what was lost of files that have been closed since."""
        if self._unsaid:
            report = f"({self._unsaid} lines of other files lost)\n"
            if self._file(DROPPED).lines.write(report):
                self._unsaid = 0

    def _fail(self, error: Exception) -> None:
        """Say once for all files that lines are lost."""
        if not self._is_failing:
            self._is_failing = True
            to_stderr(f"function logs in {self.name} cannot be written, lines are lost: {error}")


class LogFile:
    """A file of a directory that may fail for a while, and come back."""

    def __init__(self, path: Path, failed: Callable[[Exception], None]) -> None:
        self._path = path
        self._file: FileOutput | None = None
        self.lines = Recovering(self._write, failed)

    def close(self) -> None:
        """Close it, if it is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, text: str) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file = FileOutput(self._path)
            except InvalidSetting as error:
                raise error.__cause__ or OSError(str(error)) from error
        self._file.write(text)


def tail_line(entry: LogEntry) -> str:
    """Return an entry as `aws logs tail` prints it, but that its further lines are indented and its
    control characters shown: nothing but an entry begins with a time."""
    text = visible_json(entry.text) if entry.is_json else visible(entry.text)
    return f"{stamp(entry.at)} {text}".replace("\n", INDENT)


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

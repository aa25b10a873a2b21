"""Which of the machine's own files a room shows where it has directories of its own, and how the
operator is told of one that a function did not find."""

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.notices import (
    InitReported,
    InvocationReported,
    LogEntry,
    Notice,
    OperatorWarning,
)

OWN = ("/run", "/var/run", "/tmp", "/opt", "/dev", "/var/task")  # noqa: S108 - names only
"""Directories that each room has of its own, so that the machine's are hidden."""

RESOLVER = "/etc/resolv.conf"

CREDENTIAL_VARIABLES = (
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""Variables of a function that name a file with credentials, or with the way to them."""

MOST_LINKS = 40  # as Linux has it

MOST_HINTS = 20
"""Paths that the operator is told of, so that a function cannot fill the log with them."""

MOST_LOOKED_UP = 100
"""Paths of one report that are looked up, in about 1 ms: a function can print 100,000 of them."""

_RUN_PATH = re.compile(r"(?<![\w./-])/(?:var/)?run/[^\s'\"`,;:()\[\]{}<>]+")
_NOT_FOUND = re.compile(r"No such file|ENOENT|Errno 2\b|Permission denied|EACCES|Errno 13\b")


def is_hidden(path: str) -> bool:
    """Say whether a path without links is hidden in a room unless it is bound there."""
    return any(path == own or path.startswith(f"{own}/") for own in OWN)


def resolved(path: str) -> str:
    """Return a path whose directory has no links: where a room has to show it."""
    directory, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 - nothing is looked up
    return str(Path(os.path.realpath(directory), name))


def bound(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return what `--bind` shows; raises InvalidSetting for what would cover a room's own."""
    return tuple(_checked(resolved(str(path))) for path in paths)


def _checked(path: str) -> str:
    if any(own == path or own.startswith(f"{path.rstrip('/')}/") for own in OWN):
        raise InvalidSetting(
            f"--bind {path} would hide directories of the environment's own; name what is in it"
        )
    return path


def needed(variables: Mapping[str, str], resolver: str = RESOLVER) -> tuple[str, ...]:
    """Return what a function needs to look names up and to find its credentials."""
    files = [variables[name] for name in CREDENTIAL_VARIABLES if variables.get(name)]
    found = [*_hidden_steps(resolver), *(step for file in files for step in _credentials(file))]
    return tuple(dict.fromkeys(found))


def _credentials(file: str) -> Iterator[str]:
    """Give a file, or its directory if it is a link within that: so Kubernetes renews tokens."""
    for path in _hidden_steps(file):
        directory = os.path.dirname(path)  # noqa: PTH120
        is_renewed = os.path.realpath(path).startswith(f"{directory}/") and Path(path).is_symlink()
        yield directory if is_renewed and directory not in OWN else path


def _hidden_steps(path: str) -> Iterator[str]:
    """Give the first hidden path on the way that links lead from a path to a file, if any."""
    for _ in range(MOST_LINKS):
        path = resolved(path)
        if is_hidden(path):
            yield path
            return
        if not Path(path).is_symlink():
            return
        path = str(Path(path).parent / Path(path).readlink())


class HiddenPathHints:
    """A Sink that passes everything on, and warns of each hidden path that a function missed.

    It knows them by what the function wrote: a path below /run, and that it was not found.
    """

    def __init__(
        self,
        sink: Sink,
        shown: Iterable[str],
        exists: Callable[[str], bool] = os.path.lexists,
    ) -> None:
        self._sink = sink
        self._exists = exists
        self._shown = tuple(shown)
        self._told: set[str] = set()

    def emit(self, notice: Notice, /) -> None:
        """Receive a notice."""
        self._sink.emit(notice)
        if isinstance(notice, InitReported | InvocationReported):
            for path in islice(self._missed(notice.entries), MOST_LOOKED_UP):
                self._tell(path)

    def _missed(self, entries: list[LogEntry]) -> Iterator[str]:
        for entry in entries:
            if "/run/" in entry.text and _NOT_FOUND.search(entry.text):
                yield from (found[0] for found in _RUN_PATH.finditer(entry.text))

    def _tell(self, path: str) -> None:
        if path in self._told or len(self._told) >= MOST_HINTS or not self._is_hidden(path):
            return
        self._told.add(path)
        option = f"--bind {shlex.quote(path)}"
        text = f"{path} is hidden in execution environments; {option} shows it, read-only"
        self._sink.emit(OperatorWarning(text))

    def _is_hidden(self, path: str) -> bool:
        if not self._exists(path):
            return False
        place = resolved(path)
        return not any(place == one or place.startswith(f"{one}/") for one in self._shown)

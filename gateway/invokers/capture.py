"""What a handler prints, caught for the invocation that printed it.

`sys.stdout` and `sys.stderr` are replaced once by a router that looks at a context variable:
inside an invocation text goes to that invocation's buffer, outside it goes where it always went.
Threads that a handler starts itself have no such context; their output passes through.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

OUTPUT_LIMIT = 256 * 1024
"""Characters kept of one invocation's output; a handler that prints without end costs no more."""

CUT = "\n[output cut]\n"


class Output:
    """The output of one invocation, capped."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self._parts: list[str] = []
        self._room = OUTPUT_LIMIT

    def write(self, text: str) -> None:
        """Keep the text as far as there is room."""
        if self._room < 0 or not text:
            return
        self._parts.append(text if len(text) <= self._room else text[: self._room] + CUT)
        self._room -= len(text)

    def text(self) -> str:
        """Return everything kept so far."""
        return "".join(self._parts)


CURRENT: ContextVar[Output | None] = ContextVar("output", default=None)


def current_request_id() -> str:
    """Return the id of the invocation that runs here, empty outside one."""
    output = CURRENT.get()
    return output.request_id if output else ""


class Router:
    """A text stream that writes to the current invocation's output, else to the real stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        output = CURRENT.get()
        if output is None:
            return self._stream.write(text)
        output.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write every line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def captured_streams() -> Iterator[None]:
    """Route the process's standard streams while this context lasts."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Router(streams[0]), Router(streams[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams

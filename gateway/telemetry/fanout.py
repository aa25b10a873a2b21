"""Several sinks behind one."""

import traceback
from collections.abc import Sequence

from gateway.core.interfaces import Sink
from gateway.core.notices import Notice
from gateway.telemetry.writer import to_stderr


class Fanout:
    """Hands every notice to every sink; a Sink that no other sink can make fail."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._reported: set[int] = set()

    def emit(self, notice: Notice, /) -> None:
        """Give the notice to each; the first failure of each goes to stderr."""
        for index, sink in enumerate(self._sinks):
            try:
                sink.emit(notice)
            except Exception:  # noqa: BLE001 - observers must not fail the request
                self._report(index)

    def _report(self, index: int) -> None:
        if index not in self._reported:
            self._reported.add(index)
            to_stderr(f"{type(self._sinks[index]).__name__} failed:\n{traceback.format_exc()}")

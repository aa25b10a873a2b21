"""What signals mean at each stage of the process's life.

While the handler is imported into this process signals end it at once; while environments start
they end these first. From the moment that the listener is announced SIGINT and SIGTERM stop the
server, and SIGHUP reloads.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StartEnded(Exception):
    """A signal has ended the start; everything that had begun is gone."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def end_start(number: int, _frame: FrameType | None) -> None:
    """Handle a signal that comes before the event loop runs."""
    raise StartEnded(number)


def on_stop(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """Have SIGINT and SIGTERM call a handler, or with SIG_DFL end the process at once: Python's own
    handler of SIGINT raises an exception, and an import may swallow that or be stuck in native
    code."""
    for number in STOP_SIGNALS:
        signal.signal(number, handler)


@contextmanager
def start_that_can_be_ended() -> Iterator[None]:
    """Have a signal cancel the start and raise StartEnded; the server that follows takes the
    signals over."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    signals: list[int] = []

    def cancel(number: int) -> None:
        signals.append(number)
        if task is not None:
            task.cancel()

    for number in (*STOP_SIGNALS, signal.SIGHUP):
        loop.add_signal_handler(number, cancel, number)
    try:
        yield
    except asyncio.CancelledError:
        if signals:
            raise StartEnded(signals[0]) from None
        raise


def terminals() -> list[int]:
    """Return which standard descriptors are terminals; one that has hung up no longer is."""
    return [descriptor for descriptor in range(3) if os.isatty(descriptor)]

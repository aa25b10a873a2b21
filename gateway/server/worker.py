"""One worker: what its parent holds of it, and what the worker itself holds.

A worker is a fresh interpreter that runs worker_process.py. It inherits the listeners' sockets and
half of a socket pair, the channel: on it the parent sends the document, the worker says that it is
ready, and the parent that it has been replaced; its end says that the parent has died, so that no
worker stays behind.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from gateway.server.assignment import Assignment, message
from gateway.telemetry.writer import to_stderr

PROGRAM = Path(__file__).with_name("worker_process.py")

STEADY_SECONDS = 60.0
"""A worker that has been ready this long does not count as a failed start."""

READY_END = b"\0"
"""Ends what a worker says when it is ready, which may have several lines."""

REPLACED = b"replaced\n"
"""What the parent says to a worker whose successor serves."""


class WorkerSlot:
    """What a worker holds: its number and the parent's channel."""

    def __init__(self, number: int, channel: socket.socket) -> None:
        """Take the number, from 0 on, and the channel."""
        self.number = number
        self.channel = channel
        self.on_replaced: Callable[[], None] = stop_this_process
        """Called on a thread; a server that can end more slowly than for SIGTERM sets it."""

    def say_ready(self, isolation: str) -> None:
        """Tell the parent that this worker serves; nothing happens when the parent is gone."""
        with suppress(OSError):
            self.channel.sendall(isolation.encode() + READY_END)

    def watch_parent(self) -> None:
        """Hear when the worker has been replaced, and stop as for SIGTERM when the parent dies;
        seen by a thread, because a handler's import may hold up the event loop."""
        threading.Thread(target=self._listen, name="parent-watch", daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while self.channel.recv(len(REPLACED)):
                self.on_replaced()
        to_stderr(f"gateway: the parent has died, worker {self.number + 1} stops")
        stop_this_process()


def stop_this_process() -> None:
    """Send SIGTERM to this process."""
    os.kill(os.getpid(), signal.SIGTERM)


def ending(status: int) -> str:
    """Return how a process has ended."""
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


class Worker:
    """One process, from its start to its end; needs a running event loop, and raises OSError when
    there can be no process."""

    def __init__(self, number: int, assignment: Assignment) -> None:
        self._loop = asyncio.get_running_loop()
        self.number = number
        self.is_leaving = False
        """Whether it has been sent a signal to stop."""
        self.ready_at: float | None = None
        """When it said so, in seconds of the event loop."""
        self.isolation = ""
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self.replaced: asyncio.Future[None] = self._loop.create_future()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._received = b""
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)  # noqa: FBT003
        self._unsent = message(assignment)
        with theirs, ExitStack() as stack:
            stack.callback(self._channel.close)
            self._process = _started(theirs.fileno(), assignment.descriptors)
            stack.pop_all()
        self._loop.add_writer(self._channel, self._write)
        self._loop.add_reader(self._channel, self._read)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _write(self) -> None:
        """Send what the socket takes of the assignment; a worker that has ended takes nothing."""
        with suppress(BlockingIOError):
            try:
                self._unsent = self._unsent[self._channel.send(self._unsent) :]
            except BrokenPipeError:
                self._unsent = b""
        if not self._unsent:
            self._loop.remove_writer(self._channel)

    def _read(self) -> None:
        """Take the text that says that it is ready."""
        try:
            data = self._channel.recv(4096)
        except OSError:
            data = b""
        self._received += data
        if self._received.endswith(READY_END):
            self.isolation = self._received.removesuffix(READY_END).decode(errors="replace")
            self.ready_at = self._loop.time()
            self._ready.set_result(None)
            if not self.is_leaving:
                self._cancel_timer()
        if not data or self.ready_at is not None:
            self._loop.remove_reader(self._channel)

    async def wait_ready(self) -> bool:
        """Wait until it serves, or has ended; says which."""
        await first_of(self._ready, self.exited)
        return self._ready.done() and not self.exited.done()

    def expect_ready(self, seconds: float) -> None:
        """Kill it when it does not serve in time."""
        self._kill_after(seconds)

    def is_steady(self) -> bool:
        """Say whether it has served for a while."""
        return self.ready_at is not None and self._loop.time() - self.ready_at >= STEADY_SECONDS

    def leave(self, number: int, seconds: float) -> None:
        """Pass on a signal to stop, and kill it when it takes longer than this."""
        self.is_leaving = True
        self._kill_after(seconds)
        self._process.send_signal(number)

    def retire(self, seconds: float) -> None:
        """Have it end because another one has taken its slot: without haste, unless it has not
        served yet."""
        self.replaced.set_result(None)
        if self.exited.done():
            return
        if self.ready_at is None:
            self.leave(signal.SIGTERM, seconds)
            return
        self._kill_after(seconds)
        with suppress(OSError):  # it is about to end
            self._channel.sendall(REPLACED)

    def _kill_after(self, seconds: float) -> None:
        end = self._loop.time() + seconds
        if self._timer is None or end < self._timer.when():
            self._cancel_timer()
            self._timer = self._loop.call_at(end, self._process.kill)

    def reap(self) -> bool:
        """Say whether it has ended; then its status is known."""
        status = self._process.poll()
        if status is None:
            return False
        self._cancel_timer()
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        self._channel.close()
        self.exited.set_result(status)
        return True

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def first_of(*futures: "asyncio.Future[Any]", seconds: float | None = None) -> None:
    """Wait until one of them is done, at most these seconds."""
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def _started(channel: int, descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start a worker that inherits the descriptors; it has the parent's arguments, which `ps` shows
    and handlers may look at."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001 - multiprocessing takes them from there, too
    return subprocess.Popen(  # noqa: S603 - the command line is our own
        [sys.executable, *flags, "-P", str(PROGRAM), str(channel), *sys.argv[1:]],
        stdin=subprocess.DEVNULL,
        pass_fds=(channel, *descriptors),
        process_group=0,
    )

"""Several processes behind one socket: the parent that starts, watches and replaces them.

The parent opens the socket once and serves nothing itself: a connection in the socket's queue
outlives every worker. It keeps one worker per slot (worker.py), whatever becomes of the one before:
a slot is refilled as soon as its worker has died, also while a predecessor still drains.

Workers have process groups of their own: Ctrl-C reaches the parent alone, which passes it on.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable

from gateway.config.settings import Serving
from gateway.core.delays import LONGEST_DELAY_SECONDS, delay_seconds
from gateway.core.errors import InvalidSetting
from gateway.server.sockets import url_of
from gateway.server.systemd import Notifier
from gateway.server.worker import VARIABLE, Worker, ending, first_of
from gateway.telemetry.writer import LineWriter

STOPPING = (signal.SIGINT, signal.SIGTERM)

GRACE_SECONDS = 10.0
"""How long a worker may outlast its drain; then it is killed."""

READY_SECONDS = 60.0
"""How long the successor of a worker may take to serve; then the old one stays."""

ABORT_SECONDS = 5.0
"""How long one may take to end at once."""

Announce = Callable[[str], None]
"""Says that everything serves; it is given how isolated the function is."""


def is_parent(serving: Serving) -> bool:
    """Say whether this process only looks after workers."""
    return serving.workers > 1 and not is_worker()


def is_worker() -> bool:
    """Say whether a parent has started this process; its place is not taken yet."""
    return VARIABLE in os.environ


def division(serving: Serving) -> str:
    """Return in a line what each worker takes of what is divided."""
    shares = [serving.share(number) for number in range(serving.workers)]
    threads = [share.worker_threads() for share in shares]
    parts = [f"workers: {serving.workers}"]
    parts.append(_sum("concurrency", [share.most_concurrent() for share in shares]))
    if serving.is_in_process and any(threads):
        parts.append(_sum("threads", threads))
    if serving.min_environments:
        parts.append(_sum("min-environments", [share.min_environments for share in shares]))
    return "; ".join(parts)


def _sum(name: str, shares: list[int]) -> str:
    """Return a sum in few words: `concurrency 50 = 2 x 17 + 1 x 16`."""
    sizes = sorted(set(shares), reverse=True)
    return f"{name} {sum(shares)} = " + " + ".join(f"{shares.count(s)} x {s}" for s in sizes)


def terminals() -> list[int]:
    """Return which standard descriptors are terminals; one that has hung up does not count."""
    return [descriptor for descriptor in range(3) if os.isatty(descriptor)]


def leave_seconds(serving: Serving) -> float:
    """Return how long a worker may take from SIGTERM to its end; uvicorn has no drain limit, there
    the function's timeout counts."""
    drain = serving.limits.drain_seconds
    if serving.server == "uvicorn":
        drain = max(drain, serving.function.timeout_seconds)
    return drain + GRACE_SECONDS


class Parent:
    """Keeps a number of workers behind a socket, which it closes when it stops; `run` is its whole
    life."""

    def __init__(
        self,
        serving: Serving,
        listening: socket.socket,
        notifier: Notifier,
        say: Callable[[str], None],
    ) -> None:
        self._count = serving.workers
        self._leave_seconds = leave_seconds(serving)
        self._listening = listening
        self._notifier = notifier
        self._say = say
        self._division = division(serving)
        self._status = f"listening on {url_of(listening, serving.scheme)}; {self._division}"
        self._workers: set[Worker] = set()
        """All that live."""
        self._current: dict[int, Worker] = {}
        """Those that serve, or are to serve, by number; the others are leaving, or not ready."""
        self._stopping: asyncio.Future[None]
        self._roll_asked = asyncio.Event()
        self._terminals = terminals()

    async def run(self, announce: Announce) -> int:
        """Serve until SIGINT or SIGTERM and return the exit status, that of a worker when workers
        cannot start; no worker is left."""
        loop = asyncio.get_running_loop()
        self._stopping = loop.create_future()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in STOPPING:
            loop.add_signal_handler(number, self._stop, number)
        self._notifier.watch(loop)
        try:
            status = await self._begin()
            if not status and not self._stopping.done():
                announce(f"{self._current[0].isolation}\n{self._division}")
                self._notifier.ready(self._status)
                await self._serve()
        finally:
            self._listening.close()  # or a new connection would wait without an end
            await self._end()
        return status

    async def _begin(self) -> int:
        """Start all workers and wait for them, the first one alone: what is wrong is said once.

        Returns the exit status of one that could not start and has said why, else 0; raises
        InvalidSetting for one that could not say anything.
        """
        for numbers in (range(1), range(1, self._count)):
            try:
                self._current |= {number: self._start(number) for number in numbers}
            except OSError as error:
                raise InvalidSetting(f"workers cannot be started: {error.strerror}") from error
            for number in numbers:
                worker = self._current[number]
                if not await worker.wait_ready() and not self._stopping.done():
                    return _status_of(worker)
        return 0

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            kept = [tasks.create_task(self._keep(number)) for number in range(self._count)]
            kept.append(tasks.create_task(self._roll_when_asked()))
            await asyncio.wait({self._stopping})
            for task in kept:
                task.cancel()

    async def _end(self) -> None:
        """Have every worker that still serves leave, and wait for all of them."""
        for worker in self._workers:
            if not worker.is_leaving:
                worker.leave(signal.SIGTERM, self._leave_seconds)
        while self._workers:
            await asyncio.wait({worker.exited for worker in self._workers})

    # Signals.

    def _reap(self) -> None:
        self._workers = {worker for worker in self._workers if not worker.reap()}

    def _hang_up(self) -> None:
        """Roll, or stop when the signal says that the terminal is gone."""
        if terminals() != self._terminals:
            self._stop(signal.SIGTERM)
        else:
            self._roll_asked.set()

    def _stop(self, number: int) -> None:
        """Pass on a signal: the first one to those that were not sent one, later ones to all."""
        is_first = not self._stopping.done()
        if is_first:
            self._stopping.set_result(None)
        self._notifier.stopping()
        is_abort = number == signal.SIGINT and not is_first
        for worker in self._workers:
            if not (is_first and worker.is_leaving):
                worker.leave(number, ABORT_SECONDS if is_abort else self._leave_seconds)

    # Workers.

    def _start(self, number: int, *, is_successor: bool = False) -> Worker:
        worker = Worker(number, self._listening, is_successor=is_successor)
        self._workers.add(worker)
        if self._stopping.done():
            worker.leave(signal.SIGTERM, self._leave_seconds)
        return worker

    async def _keep(self, number: int) -> None:
        """Have a worker with this number, whatever becomes of the one there is."""
        deaths = 0
        while not self._stopping.done():
            worker = self._current[number]
            await first_of(worker.exited, worker.replaced)
            if worker.replaced.done():
                deaths = 0
                continue
            deaths = 1 if worker.is_steady() else deaths + 1
            self._say(self._exit_message(worker, deaths))
            await self._pause(delay_seconds(deaths), worker)
            while not (worker.replaced.done() or self._stopping.done()):
                await self._try_again(worker)

    async def _try_again(self, dead: Worker) -> None:
        """Start a worker in place of a dead one, or say why that fails and wait."""
        try:
            worker = self._start(dead.number)
        except OSError as error:  # no process or no descriptor is left
            self._say(f"worker {dead.number + 1} cannot be started: {error.strerror}")
            await self._pause(LONGEST_DELAY_SECONDS, dead)
            return
        worker.expect_ready(READY_SECONDS)
        self._replace(worker)

    def _replace(self, worker: Worker) -> None:
        """Give a worker its slot; the one that had it ends."""
        old, self._current[worker.number] = self._current[worker.number], worker
        old.retire(self._leave_seconds)

    @staticmethod
    def _exit_message(worker: Worker, deaths: int) -> str:
        seconds = delay_seconds(deaths)
        when = f"in {seconds:g} s, after {deaths} quick exits in a row" if seconds else "now"
        name = f"worker {worker.number + 1} (process {worker.pid})"
        return f"{name} {ending(worker.exited.result())}; another one starts {when}"

    async def _pause(self, seconds: float, dead: Worker) -> None:
        """Wait, unless the gateway stops or a roll has refilled the slot."""
        await first_of(self._stopping, dead.replaced, seconds=seconds)

    async def _roll_when_asked(self) -> None:
        while True:
            await self._roll_asked.wait()
            self._roll_asked.clear()
            self._notifier.reloading()
            outcome = await self._roll()
            self._say(outcome)
            self._notifier.ready(f"{self._status}; {outcome}")

    async def _roll(self) -> str:
        """Replace the workers one by one, each when its successor is ready; returns what became of
        it. The rest go on when one cannot be started."""
        for number in range(self._count):
            try:
                fresh = self._start(number, is_successor=True)
            except OSError as error:
                return f"worker {number + 1} is not replaced: {error.strerror}"
            if failure := await self._start_failure(fresh):
                return f"worker {number + 1} is not replaced: its successor {failure}"
            self._replace(fresh)
        return f"replaced {self._count} workers"

    @staticmethod
    async def _start_failure(worker: Worker) -> str:
        """Wait a limited time until a worker serves; returns what is wrong if it does not."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                is_ready = await worker.wait_ready()
        except TimeoutError:
            worker.leave(signal.SIGTERM, ABORT_SECONDS)
            return f"was not ready after {READY_SECONDS:g} s"
        return "" if is_ready else f"{ending(worker.exited.result())} at its start"


def _status_of(worker: Worker) -> int:
    """Return the exit status of a worker that did not start; raises InvalidSetting when it ended
    without a word."""
    status = worker.exited.result()
    if status <= 0:
        raise InvalidSetting(f"worker {worker.number + 1} {ending(status)} at its start")
    return status


def run(serving: Serving, listening: socket.socket, notifier: Notifier, announce: Announce) -> int:
    """Serve with workers until SIGINT or SIGTERM; returns the exit status."""
    with (
        LineWriter(sys.stdout) as lines,
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,  # uvloop takes no SIGCHLD
    ):
        return runner.run(Parent(serving, listening, notifier, lines.write).run(announce))

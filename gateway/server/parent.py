"""Several processes behind one socket: the parent that starts, watches and replaces them.

The parent opens the sockets once and serves nothing itself: a connection in a socket's queue
outlives every worker. It keeps one worker per slot (worker.py), whatever becomes of the one before:
a slot is refilled as soon as its worker has died, also while a predecessor still drains.

Workers have process groups of their own: Ctrl-C reaches the parent alone, which passes it on.
"""

import asyncio
import signal
import sys
from collections.abc import Callable

from gateway.config.document import Document
from gateway.config.function import Execution
from gateway.core.delays import LONGEST_DELAY_SECONDS, delay_seconds
from gateway.core.errors import InvalidSetting
from gateway.server.assignment import Assignment
from gateway.server.signals import STOP_SIGNALS, terminals
from gateway.server.stage import Stage
from gateway.server.worker import Worker, ending, first_of
from gateway.telemetry.writer import LineWriter

GRACE_SECONDS = 10.0
"""How long a worker may outlast its drain; then it is killed."""

READY_SECONDS = 60.0
"""How long the successor of a worker may take to serve; then the old one stays."""

ABORT_SECONDS = 5.0
"""How long one may take to end at once."""


def division(document: Document) -> str:
    """Return in a line for each function what each worker takes of what is divided."""
    workers = document.process.workers
    shares = [document.share(number) for number in range(workers)]
    lines = list[str]()
    for number, function in enumerate(document.functions):
        name = f"{function.completed_name()}: " if len(document.functions) > 1 else ""
        parts = _parts([share.functions[number].execution for share in shares])
        lines.append("; ".join([f"{name}workers: {workers}", *parts]))
    return "\n".join(lines)


def _parts(shares: list[Execution]) -> list[str]:
    """Return what is divided of one function."""
    threads = [share.worker_threads() for share in shares]
    parts = [_sum("concurrency", [share.most_concurrent() for share in shares])]
    if shares[0].is_in_process and any(threads):
        parts.append(_sum("threads", threads))
    environments = [share.min_environments for share in shares]
    return [*parts, _sum("min-environments", environments)] if any(environments) else parts


def _sum(name: str, shares: list[int]) -> str:
    """Return a sum in few words: `concurrency 50 = 2 x 17 + 1 x 16`."""
    sizes = sorted(set(shares), reverse=True)
    return f"{name} {sum(shares)} = " + " + ".join(f"{shares.count(s)} x {s}" for s in sizes)


def leave_seconds(document: Document) -> float:
    """Return how long a worker may take from SIGTERM to its end; uvicorn has no drain limit, there
    the function's timeout counts."""
    drain = max(one.limits.drain_seconds for one in document.listeners)
    if document.process.server == "uvicorn":
        drain = max(drain, *(one.timeout_seconds for one in document.functions))
    return drain + GRACE_SECONDS


class Parent:
    """Keeps a number of workers behind sockets, which it closes when it stops; `run` is its whole
    life."""

    def __init__(self, stage: Stage, say: Callable[[str], None]) -> None:
        self._document = stage.document
        self._count = stage.document.process.workers
        self._leave_seconds = leave_seconds(stage.document)
        self._sockets = stage.sockets
        self._notifier = stage.notifier
        self._announce = stage.announce
        self._say = say
        self._division = division(stage.document)
        self._status = "; ".join([stage.status(), *self._division.splitlines()])
        self._workers: set[Worker] = set()
        """All that live."""
        self._current: dict[int, Worker] = {}
        """Those that serve, or are to serve, by number; the others are leaving, or not ready."""
        self._stopping: asyncio.Future[None]
        self._roll_asked = asyncio.Event()
        self._terminals = terminals()

    async def run(self) -> int:
        """Serve until SIGINT or SIGTERM and return the exit status, that of a worker when workers
        cannot start; no worker is left."""
        loop = asyncio.get_running_loop()
        self._stopping = loop.create_future()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        self._notifier.watch(loop)
        try:
            status = await self._begin()
            if not status and not self._stopping.done():
                self._announce(f"{self._current[0].isolation}\n{self._division}")
                self._notifier.ready(self._status)
                await self._serve()
        finally:
            for listening in self._sockets:
                listening.close()  # or a new connection would wait without an end
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
        descriptors = tuple(listening.fileno() for listening in self._sockets)
        assignment = Assignment(self._document.share(number), descriptors, is_successor)
        worker = Worker(number, assignment)
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


def run(stage: Stage) -> int:
    """Serve with workers until SIGINT or SIGTERM; returns the exit status."""
    with (
        LineWriter(sys.stdout) as lines,
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,  # uvloop takes no SIGCHLD
    ):
        return runner.run(Parent(stage, lines.write).run())

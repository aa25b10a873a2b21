"""Keeps an interpreter ready and forks it into execution environments.

Executed by path as `fork_server.py SOCKET SANDBOX_FILE CHILD_DIRECTORY`; not with `-I`, because its
flags are those of its children. It is on its own: one thread, no event loop, no code of users,
nothing of ours on `sys.path`. What it says on its socket is in fork_channel.py.

`Server.serve` returns in the server when the gateway is gone, and in every child right after the
fork: the child then becomes what the plan says and ends as any interpreter does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

# What handlers import most: shared by all children, so that no child waits or pays for it.
PRELOADED = (  # noqa: SIM905 - a list of these is three times as long
    "base64 collections contextvars copy dataclasses datetime decimal enum functools hashlib hmac "
    "http.client inspect io itertools json logging logging.handlers math operator pathlib pickle "
    "queue random re shutil socket ssl string struct subprocess tempfile textwrap threading time "
    "traceback types typing urllib.error urllib.parse urllib.request uuid warnings weakref "
    "zoneinfo"
).split()

END_SECONDS = 1.5
"""How long the end waits for killed processes to be gone."""

_ROUND_MS = 5


class Child:
    """An environment's process, from the fork until it is reaped."""

    def __init__(self, number: int, marker: str | None, report: int) -> None:
        self.number = number
        self.marker = marker
        self.report = report
        self.has_started = False


def load(path: str) -> ModuleType:
    """Execute a file as a module that cannot be imported; raises what it raises."""
    spec = importlib.util.spec_from_file_location(f"_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_sandbox(path: str) -> ModuleType:
    """Execute sandbox.py, which imports room.py beside it; no child can import either."""
    sys.path.insert(0, str(Path(path).parent))
    try:
        return load(path)
    finally:
        del sys.path[0]
        sys.modules.pop("room", None)


if TYPE_CHECKING:
    from gateway.runtime.child import fork_channel, fork_child, fork_interpreter, fork_processes
else:
    fork_channel, fork_child, fork_interpreter, fork_processes = (
        load(str(Path(__file__).with_name(f"fork_{name}.py")))
        for name in ("channel", "child", "interpreter", "processes")
    )


def prepare(sandbox_path: str, child_directory: str) -> fork_child.LoadedModules:
    """Load what children need, and leave it out of all garbage collections."""
    main = fork_interpreter.main_module(f"{child_directory}/__main__.py")
    loop = importlib.import_module("awslambdaric.bootstrap_loop")
    loop.preload()
    sandbox = load_sandbox(sandbox_path)
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    area = _environ_area()
    gc.collect()
    gc.disable()
    gc.freeze()
    return fork_child.LoadedModules(sandbox, fork_processes, fork_interpreter, main, loop, area)


def _environ_area() -> tuple[int, int]:
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        # env_start and env_end are the fields 50 and 51 of proc_pid_stat(5); here field 3 is first.
        return int(fields[47]), int(fields[48]) - int(fields[47])
    except (OSError, IndexError, ValueError):
        return 0, 0


class Server:
    """Forks on request, and answers for its children until they are reaped."""

    def __init__(self, channel: fork_channel.Channel) -> None:
        self._channel = channel
        self._children: dict[int, Child] = {}
        self._starting: dict[int, int] = {}
        self._is_ending = False
        self._pid = os.getpid()
        self._woken, self._waker = os.pipe()
        self._poll = select.poll()
        for descriptor in (self._woken, self._waker):
            os.set_blocking(descriptor, False)
        for descriptor in (self._woken, channel.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore_signal)
        signal.signal(signal.SIGTERM, self._ask_to_end)

    def _ask_to_end(self, *_: object) -> None:
        self._is_ending = True

    def serve(self) -> fork_child.Job | None:
        """Return a job in a child, None in the server when it is to end."""
        while not self._is_ending:
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            self._look_after_children(ready)
            if self._channel.fileno() in ready:
                job = self._answer_requests()
                if job is not None:
                    return job
        return None

    def _look_after_children(self, ready: list[int]) -> None:
        self._sleep_again()
        for descriptor in ready:
            if descriptor in self._starting:
                self._report_start(self._starting[descriptor])
        if self._reap():
            with contextlib.suppress(OSError):  # no descriptor: the next death makes another look
                self._end_orphans()

    def _sleep_again(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, 4096):
                pass

    def _answer_requests(self) -> fork_child.Job | None:
        for request in self._channel.receive():
            if not request.is_complete:
                self._refuse(request, "too many open files")
                continue
            job = self._fork(request)
            if job is not None:
                return job
        self._is_ending = self._is_ending or self._channel.is_over
        return None

    def _refuse(self, request: fork_channel.Request, why: str) -> None:
        """Tell the gateway why nothing was started."""
        _close(request.descriptors)
        self._channel.send({"failed": request.number, "why": f"cannot fork: {why}"})

    def _fork(self, request: fork_channel.Request) -> fork_child.Job | None:
        try:
            report, reporter = os.pipe()
        except OSError as error:
            self._refuse(request, str(error.strerror))
            return None
        # No signal may reach the handlers of the server in the child.
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _close([reporter, report])
            self._refuse(request, str(error.strerror))
            return None
        if pid == 0:
            self._channel.detach()
            return fork_child.Job(request.plan, request.descriptors, reporter, self._pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _close([reporter, *request.descriptors])
        self._watch(pid, request, report)
        return None

    def _watch(self, pid: int, request: fork_channel.Request, report: int) -> None:
        """Take a child that is becoming what its plan says."""
        marker = request.plan["environ"].get(fork_processes.MARKER)
        self._children[pid] = Child(request.number, marker, report)
        self._starting[report] = pid
        self._poll.register(report, select.POLLIN)

    def _report_start(self, pid: int) -> None:
        """Say how the child's preparation ended; reading waits for no longer than that lasts."""
        child = self._children[pid]
        with open(child.report, "rb") as pipe:
            self._poll.unregister(pipe)
            del self._starting[child.report]
            why = pipe.read().decode(errors="replace")
        child.report = -1  # the number is free for another child's
        child.has_started = not why
        if why:
            self._channel.send({"failed": child.number, "why": why})
        else:
            self._channel.send({"started": child.number, "pid": pid})

    def _reap(self) -> bool:
        has_reaped = False
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                has_reaped = True
                if pid in self._children:
                    self._report_exit(pid, os.waitstatus_to_exitcode(status))
        return has_reaped

    def _report_exit(self, pid: int, status: int) -> None:
        fork_processes.kill_group(pid)
        child = self._children[pid]
        if child.report >= 0:
            self._report_start(pid)
        del self._children[pid]
        if child.has_started:
            self._channel.send({"exited": child.number, "pid": pid, "status": status})

    def _end_orphans(self) -> None:
        """Kill what environments that are gone have left to us.

        Whatever dies hands its own children on to us and wakes us again.
        """
        for pid in fork_processes.own_children() - self._children.keys():
            if not self._is_wanted(pid):
                fork_processes.kill(pid)

    def _is_wanted(self, pid: int) -> bool:
        """Say whether an orphan's environment lives, or may be one of those that live."""
        try:
            session = os.getsid(pid)
        except ProcessLookupError:
            return True
        if session in self._children:
            return True
        marker = fork_processes.marker_of(pid)
        living = {child.marker for child in self._children.values()}
        return bool(living) if marker is None else marker in living

    def end(self) -> None:
        """Kill all that is left, children of children too, and report which exited."""
        self._poll.unregister(self._channel)
        deadline = time.monotonic() + END_SECONDS
        while fork_processes.has_children() and time.monotonic() < deadline:
            for pid in list(self._children):
                fork_processes.kill_group(pid)
            for pid in fork_processes.descendants():
                fork_processes.kill(pid)
            self._poll.poll(_ROUND_MS)
            self._sleep_again()
            self._reap()


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _ignore_signal(*_: object) -> None:
    """Do nothing: the wake-up descriptor has it."""


def main() -> None:
    """Serve; returns at the end of the server, and in a child when the runtime loop returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, sandbox_path, child_directory = sys.argv[1:]
    os.chdir("/")
    del sys.path[0]  # the directory of this file
    server = Server(fork_channel.Channel(socket.socket(fileno=int(descriptor))))
    # Not SIGKILL: the end has work to do. What the socket shows may be kept open by others.
    fork_processes.end_with_parent(signal.SIGTERM)
    fork_processes.adopt_orphans()
    runtime = prepare(sandbox_path, child_directory)
    job = server.serve()
    if job is None:
        server.end()
    else:
        fork_child.become(job, runtime)
        runtime.loop.main()


if __name__ == "__main__":
    main()

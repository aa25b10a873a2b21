"""Keeps an interpreter ready and forks it into execution environments.

Executed by path as `fork_server.py SOCKET SANDBOX_FILE CHILD_DIRECTORY`; not with `-I`, because its
flags are those of its children. It is on its own: one thread, no event loop, no code of users,
nothing of ours on `sys.path`.
Requests and replies are lines of JSON on a stream socket to the gateway; with the first byte of a
request come its descriptors: output, log, and zero or two namespaces.

    {"id": 1, "plan": {...}}  ->  {"started": 1, "pid": 70}, later {"exited": 1, "pid": 70, "status": 0}
                              or  {"failed": 1, "why": "..."}

`Server.serve` returns in the server when the gateway is gone, and in every child right after the
fork: the child then becomes what the plan says and ends as any interpreter does.
"""  # noqa: E501 - the two replies belong on one line each

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

LOG_VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD"

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
_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# More than any request has: output, log, two namespaces.
_MAX_DESCRIPTORS = 16
_libc = ctypes.CDLL(None, use_errno=True)


class Runtime(NamedTuple):
    """What is loaded once and used by every child."""

    sandbox: ModuleType
    main: ModuleType
    loop: ModuleType
    shown_environ: tuple[int, int]
    """Address and size of what /proc/PID/environ shows."""


class Job(NamedTuple):
    """What a child has to become."""

    plan: dict[str, Any]
    descriptors: list[int]
    report: int
    """The pipe that takes the reason why it cannot; closed without a byte when it can."""
    server_pid: int


class Child:
    """An environment's process, from the fork until it is reaped."""

    def __init__(self, number: int, marker: str | None, report: int) -> None:
        self.number = number
        self.marker = marker
        self.report = report
        self.has_started = False


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process on Linux, do nothing elsewhere; raises OSError."""
    if _LINUX and _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def load(path: str) -> ModuleType:
    """Execute a file as a module that cannot be imported; raises what it raises."""
    spec = importlib.util.spec_from_file_location(f"_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


processes: Any = load(str(Path(__file__).with_name("fork_processes.py")))
interpreter: Any = load(str(Path(__file__).with_name("fork_interpreter.py")))


def prepare(sandbox_path: str, child_directory: str) -> Runtime:
    """Load what children need, and leave it out of all garbage collections."""
    main = interpreter.main_module(f"{child_directory}/__main__.py")
    loop = importlib.import_module("awslambdaric.bootstrap_loop")
    loop.preload()
    sandbox = load(sandbox_path)
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    area = _environ_area()
    gc.collect()
    gc.disable()
    gc.freeze()
    return Runtime(sandbox, main, loop, area)


def _environ_area() -> tuple[int, int]:
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        # env_start and env_end are the fields 50 and 51 of proc_pid_stat(5); here field 3 is first.
        return int(fields[47]), int(fields[48]) - int(fields[47])
    except (OSError, IndexError, ValueError):
        return 0, 0


class Server:
    """Forks on request, and answers for its children until they are reaped."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._received = b""
        self._descriptors: list[int] = []
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

    def serve(self) -> Job | None:
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

    def _answer_requests(self) -> Job | None:
        *lines, self._received = (self._received + self._receive()).split(b"\n")
        for line in lines:
            request = json.loads(line)
            count = request["descriptors"]
            descriptors = self._descriptors[:count]
            del self._descriptors[:count]
            if len(descriptors) < count:  # the kernel dropped those that found no room here
                self._refuse(request["id"], "too many open files", descriptors)
                continue
            job = self._fork(request["id"], request["plan"], descriptors)
            if job is not None:
                return job
        return None

    def _refuse(self, number: int, why: str, descriptors: list[int]) -> None:
        """Tell the gateway why nothing was started."""
        _close(descriptors)
        self._send({"failed": number, "why": f"cannot fork: {why}"})

    def _receive(self) -> bytes:
        space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)
        try:
            data, ancillary, _, _ = self._channel.recvmsg(65536, space)
        except OSError:
            data, ancillary = b"", []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors += memoryview(content[: len(content) // 4 * 4]).cast("i")
        self._is_ending = self._is_ending or not data
        return data

    def _send(self, reply: dict[str, Any]) -> None:
        # A gateway that is gone is noticed by reading.
        with contextlib.suppress(OSError):
            self._channel.sendall(json.dumps(reply).encode() + b"\n")

    def _fork(self, number: int, plan: dict[str, Any], descriptors: list[int]) -> Job | None:
        try:
            report, reporter = os.pipe()
        except OSError as error:
            self._refuse(number, str(error.strerror), descriptors)
            return None
        # No signal may reach the handlers of the server in the child.
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        try:
            pid = os.fork()
        except OSError as error:
            pid = -1
            self._send({"failed": number, "why": f"cannot fork: {error.strerror}"})
        if pid == 0:
            self._channel.detach()
            return Job(plan, descriptors, reporter, self._pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _close([reporter, *descriptors, *([report] if pid < 0 else [])])
        if pid > 0:
            self._children[pid] = Child(number, plan["environ"].get(processes.MARKER), report)
            self._starting[report] = pid
            self._poll.register(report, select.POLLIN)
        return None

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
            self._send({"failed": child.number, "why": why})
        else:
            self._send({"started": child.number, "pid": pid})

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
        processes.kill_group(pid)
        child = self._children[pid]
        if child.report >= 0:
            self._report_start(pid)
        del self._children[pid]
        if child.has_started:
            self._send({"exited": child.number, "pid": pid, "status": status})

    def _end_orphans(self) -> None:
        """Kill what environments that are gone have left to us.

        Whatever dies hands its own children on to us and wakes us again.
        """
        for pid in processes.own_children() - self._children.keys():
            if not self._is_wanted(pid):
                processes.kill(pid)

    def _is_wanted(self, pid: int) -> bool:
        """Say whether an orphan's environment lives, or may be one of those that live."""
        try:
            session = os.getsid(pid)
        except ProcessLookupError:
            return True
        if session in self._children:
            return True
        marker = processes.marker_of(pid)
        living = {child.marker for child in self._children.values()}
        return bool(living) if marker is None else marker in living

    def end(self) -> None:
        """Kill all that is left, children of children too, and report which exited."""
        self._poll.unregister(self._channel)
        deadline = time.monotonic() + END_SECONDS
        while processes.has_children() and time.monotonic() < deadline:
            for pid in list(self._children):
                processes.kill_group(pid)
            for pid in processes.descendants():
                processes.kill(pid)
            self._poll.poll(_ROUND_MS)
            self._sleep_again()
            self._reap()


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _ignore_signal(*_: object) -> None:
    """Do nothing: the wake-up descriptor has it."""


def become(job: Job, runtime: Runtime) -> None:
    """Make the forked process what the plan says; ends it, with a report, when that fails."""
    report = job.report
    try:
        kept, namespaces, report = take_descriptors(job)
        interpreter.restore_signals()
        os.setsid()
        _die_with(job.server_pid)
        replace_environ(job.plan["environ"], runtime.shown_environ)
        runtime.sandbox.enter(job.plan, tuple(namespaces))
        # A change of credentials, or of the user namespace, has taken it away: PR_SET_PDEATHSIG(2).
        _die_with(job.server_pid)
        interpreter.renew(runtime.main)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the gateway must be told
        os.write(report, (str(error) or repr(error)).encode(errors="replace")[:4096])
        os._exit(127)
    close_all_but(kept)


def take_descriptors(job: Job) -> tuple[list[int], list[int], int]:
    """Put the descriptors where they belong and close all others.

    Returns those that stay open, the namespaces, and the pipe for the report.
    """
    log = int(job.plan["environ"].get(LOG_VARIABLE, -1))
    # First out of the way of the numbers that they are to have.
    output, log_now, *namespaces, report = (
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(log, 2) + 1)
        for descriptor in (*job.descriptors, job.report)
    )
    null = os.open(os.devnull, os.O_RDONLY)
    wanted = {0: null, 1: output, 2: output, **({log: log_now} if log > 2 else {})}
    for number, descriptor in wanted.items():
        os.dup2(descriptor, number)
    close_all_but([*wanted, *namespaces, report])
    return list(wanted), namespaces, report


def close_all_but(kept: list[int]) -> None:
    """Close every descriptor of the process but these."""
    limit = os.sysconf("SC_OPEN_MAX")
    edges = [-1, *sorted(kept), limit if 0 < limit < 1 << 20 else 1 << 20]
    for before, after in zip(edges, edges[1:]):  # noqa: B905, RUF007 - Python 3.9
        if after > before + 1:  # of an empty range at 0, CPython 3.11 makes all there are
            os.closerange(before + 1, after)


def _die_with(parent: int) -> None:
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)


def replace_environ(environ: dict[str, str], area: tuple[int, int]) -> None:
    """Make these all the variables there are, and have /proc/PID/environ name the environment.

    A search for all processes of an environment reads them there; without this, a child shows the
    variables of the server.
    """
    os.environ.clear()
    os.environ.update(environ)
    address, size = area
    marker = processes.MARKER
    shown = f"{marker}={environ[marker]}".encode() if marker in environ else b""
    if size:
        # Nothing points there any more: every variable is in memory of its own.
        ctypes.memset(address, 0, size)
        ctypes.memmove(address, shown, len(shown) if len(shown) < size else 0)


def main() -> None:
    """Serve; returns at the end of the server, and in a child when the runtime loop returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, sandbox_path, child_directory = sys.argv[1:]
    os.chdir("/")
    del sys.path[0]  # the directory of this file
    server = Server(socket.socket(fileno=int(descriptor)))
    # Not SIGKILL: the end has work to do. What the socket shows may be kept open by others.
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    runtime = prepare(sandbox_path, child_directory)
    job = server.serve()
    if job is None:
        server.end()
    else:
        become(job, runtime)
        runtime.loop.main()


if __name__ == "__main__":
    main()

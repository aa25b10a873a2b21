"""The launcher that has fork_server.py fork: a few milliseconds instead of an interpreter's start.

One server at a time, started with the first plan and again after it has died. The gateway never
waits for it: requests that the socket does not take wait in a queue, replies resolve futures.
Nothing here is a task; the event loop calls when the socket can be read or written.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.runtime.launch import LaunchFailed, Outlets, Plan

HERE = Path(__file__).parent

STOP_SECONDS = 3.0
"""How long a server may take to end with everything it has forked; then it is killed."""

ATTEMPTS = 2
"""A start that the server did not survive is tried once more, with another server."""

# Room for what /proc/PID/environ of a child is to show: see _replace_environ in fork_child.py.
_SHOWN_ENVIRON = " " * 512

# What this interpreter may need to start at all. Nothing else of the gateway's variables, because a
# function could read them in the memory of its process.
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "__PYVENV_LAUNCHER__")

_SIGKILL_STATUS = -signal.SIGKILL

LANG = "en_US.UTF-8"
"""What AWS sets, and what therefore decides on the interpreter's UTF-8 mode (PEP 540)."""

_AT_EXEC = ("LD_", "DYLD_", "PYTHON", "MALLOC_", "GLIBC_TUNABLES", "OPENSSL_", "LANG", "LC_")
"""How variables begin that act when an interpreter or a library is loaded, and never again."""


def can_fork(
    plan: Plan,
    interpreter: str,
    variables: Iterable[str],
    *,
    platform: str = sys.platform,
    is_asked: bool = False,
) -> bool:
    """Say whether the plan can be forked from an interpreter that is there already.

    `variables` are the names that the function itself sets: those that the platform sets, such as
    PYTHONPATH and LD_LIBRARY_PATH (lambda.md 1.7), stand for nothing that has to happen at exec.
    `is_asked` says that the user wants it on macOS too, whose own libraries may not survive a fork.
    """
    is_ours = Path(interpreter).absolute() == Path(sys.executable).absolute()
    is_safe = platform == "linux" or (platform == "darwin" and is_asked)
    acts_at_exec = any(name.startswith(_AT_EXEC) for name in variables)
    return not plan.command and is_ours and is_safe and not acts_at_exec


def kill_group(pid: int) -> None:
    """Send SIGKILL to a process and to its group; does nothing when they are gone."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


@dataclass(slots=True)
class ForkedProcess:
    """A Process that the fork server has made."""

    pid: int
    exited: asyncio.Future[int]
    end: Callable[[int], None]

    def kill(self) -> None:
        """Send SIGKILL to the process and to whatever it started, unless it is gone."""
        if not self.exited.done():
            self.end(self.pid)


@dataclass(slots=True)
class _Request:
    """What is not yet sent: bytes, and the descriptors that go with the first of them."""

    data: memoryview
    descriptors: list[int]

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


class _Connection:
    """One server process, from its start to its end."""

    def __init__(self, command: list[str], kill: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._kill = kill
        self._requests: deque[_Request] = deque()
        self._received = b""
        self._starting: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._running: dict[int, ForkedProcess] = {}
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start(command, theirs)
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)  # noqa: FBT003
        self._loop.add_reader(self._socket, self._read)
        self.ended: asyncio.Future[None] = self._loop.create_future()

    @property
    def pid(self) -> int:
        return self._process.pid

    def request(self, number: int, plan: Plan, outlets: Outlets) -> asyncio.Future[ForkedProcess]:
        given = (outlets.output, outlets.log, *outlets.namespaces)
        message = {"id": number, "descriptors": len(given), "plan": asdict(plan)}
        data = memoryview(json.dumps(message).encode() + b"\n")
        self._requests.append(_Request(data, _duplicates(given)))
        started: asyncio.Future[ForkedProcess] = self._loop.create_future()
        self._starting[number] = started
        if len(self._requests) == 1:
            self._write()
        return started

    def _write(self) -> None:
        try:
            while self._requests:
                self._send(self._requests[0])
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._write)
        except OSError:
            self._end()
        else:
            self._loop.remove_writer(self._socket)

    def _send(self, request: _Request) -> None:
        if request.descriptors:
            sent = socket.send_fds(self._socket, [request.data], request.descriptors)
            request.close()
        else:
            sent = self._socket.send(request.data)
        request.data = request.data[sent:]
        if not request.data:
            self._requests.popleft()

    def _read(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._receive(json.loads(line))
        if not data:
            self._end()

    def _receive(self, reply: dict[str, Any]) -> None:
        match reply:
            case {"started": number, "pid": pid}:
                self._started(number, pid)
            case {"failed": number, "why": why}:
                _fail(self._starting.pop(number), LaunchFailed(why))
            case {"exited": number, "status": status}:
                self._running.pop(number).exited.set_result(status)

    def _started(self, number: int, pid: int) -> None:
        process = ForkedProcess(pid, self._loop.create_future(), self._kill)
        self._running[number] = process
        started = self._starting.pop(number)
        if started.done():  # its caller has left
            process.kill()
        else:
            started.set_result(process)

    def _end(self) -> None:
        """Count everything that the server has forked as killed: it dies with its server."""
        if self.ended.done():
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for request in self._requests:
            request.close()
        for started in self._starting.values():
            _fail(started, ServerEnded("the fork server has ended"))
        for process in self._running.values():
            process.kill()
            process.exited.set_result(_SIGKILL_STATUS)
        self.ended.set_result(None)
        self.reaped = self._loop.run_in_executor(None, _reap, self._process)

    async def close(self) -> None:
        """End the server and what it has forked, and wait until they are gone."""
        if not self.ended.done():
            self._socket.shutdown(socket.SHUT_WR)
            give_up = self._loop.call_later(STOP_SECONDS, self._process.kill)
            await asyncio.shield(self.ended)
            give_up.cancel()
        await asyncio.shield(self.reaped)


class ServerEnded(LaunchFailed):
    """The fork server has died before it said what became of a request."""


def _duplicates(descriptors: Iterable[int]) -> list[int]:
    """Duplicate descriptors, whose owner may close its own when nothing waits any more; raises
    OSError and leaves none."""
    made: list[int] = []
    try:
        for descriptor in descriptors:
            made.append(os.dup(descriptor))  # noqa: PERF401 - those made are closed on failure
    except OSError:
        for duplicate in made:
            os.close(duplicate)
        raise
    return made


def _fail(started: asyncio.Future[ForkedProcess], error: LaunchFailed) -> None:
    if not started.done():
        started.set_exception(error)


def _start(command: list[str], theirs: socket.socket) -> subprocess.Popen[bytes]:
    environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
    shown = {"LANG": LANG, "_SHOWN": _SHOWN_ENVIRON}
    return subprocess.Popen(  # noqa: S603 - our own file
        [*command[:2], str(theirs.fileno()), *command[2:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environ | shown,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
    )


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for a server that has closed its socket; in a thread."""
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class ForkServer:
    """A Launcher for plans without a command; an async context manager that owns the server.

    It must be entered in a thread that lives as long as it: Linux ends the server with its thread.
    """

    kill: Callable[[int], None] = kill_group
    """Kills a process and all that it started; called while the process is not known to be gone."""
    sandbox: Path = HERE / "child" / "sandbox.py"
    child: Path = HERE / "child"
    """The directory of what runs in children."""
    _numbers: Iterator[int] = field(default_factory=count, init=False)
    _connection: _Connection | None = field(default=None, init=False)
    _is_closed: bool = field(default=False, init=False)

    async def __aenter__(self) -> Self:
        """Start the server, so that it is ready when the first environment is needed."""
        self._connected()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the server; everything that it has forked is gone when this returns."""
        self._is_closed = True
        if self._connection is not None:
            await self._connection.close()

    @property
    def pid(self) -> int | None:
        """The process id of the server, None before its start."""
        connection = self._connection
        return None if connection is None or connection.ended.done() else connection.pid

    async def start(self, plan: Plan, outlets: Outlets) -> ForkedProcess:
        """Fork a process; raises LaunchFailed when it cannot become what the plan says."""
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(ServerEnded):
                return await self._start(plan, outlets)
        return await self._start(plan, outlets)

    async def _start(self, plan: Plan, outlets: Outlets) -> ForkedProcess:
        """Fork a process; if this is cancelled, nothing runs."""
        started = self._connected().request(next(self._numbers), plan, outlets)
        try:
            return await started
        except asyncio.CancelledError:
            if not started.cancelled() and started.exception() is None:  # it came in this moment
                started.result().kill()
            raise

    def _connected(self) -> _Connection:
        if self._is_closed:
            raise LaunchFailed("the fork server is closed")
        if self._connection is None or self._connection.ended.done():
            file = str(HERE / "child" / "fork_server.py")
            command = [sys.executable, file, str(self.sandbox), str(self.child)]
            self._connection = _Connection(command, self.kill)
        return self._connection

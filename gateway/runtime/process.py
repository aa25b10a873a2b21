"""Starts the process of an execution environment by executing a command, and ends all it started.

The child is an interpreter that runs executed.py, does to itself what the plan says, and becomes
the command; no Python code of ours runs between fork and exec. It has a session of its own. When it
exits, whatever it left behind is killed before its exit is reported, as a reset does on AWS
(lambda.md 1.10), so an environment can be started again in the same control groups at once.
"""

import asyncio
import marshal
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import IO

from gateway.runtime.confinement import BOOT
from gateway.runtime.control_groups import group_members, kill_all, kill_groups
from gateway.runtime.launch import LaunchFailed, Outlets, Plan
from gateway.runtime.processes import MARKER, families

KILL_PAUSE_SECONDS = 0.005
KILLS = 400
"""How often, and for how many times, an exit waits for what is killed to be gone: 2 s in all."""

NAMESPACES = ("user", "mnt")
"""What a later process of an environment enters; the first gives the right to enter the second."""


@dataclass(frozen=True, slots=True)
class Members:
    """The processes that one process started, with itself, however they tried to get away.

    Where it has control groups: what is in those. Elsewhere: what a walk over /proc finds.
    """

    pid: int
    """The first process; 0 once it has been reaped, as its number may be another's by then."""
    cgroups: tuple[str, ...] = ()
    marker: str = ""
    """The value of AWS_LAMBDA_LOG_STREAM_NAME; empty for none."""

    def find(self) -> set[int]:
        """Return the process ids of those that are alive.

        Blocks for about 1 ms per 100 processes of the machine where there are no control groups.
        """
        return group_members(self.cgroups) if self.cgroups else self._walk()

    def kill(self) -> bool:
        """Send SIGKILL to all of them; say whether there was anyone but the first process."""
        found = kill_groups(self.cgroups) if self.cgroups else self._walk()
        kill_all(found)
        if self.pid:
            kill_all({self.pid})
            _kill_process_group(self.pid)
        return bool(found - {self.pid})

    def _walk(self) -> set[int]:
        return families({self.marker: self.pid})[self.marker]


def _kill_process_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _wait_without_reaping(pid: int) -> None:
    if sys.platform == "darwin":
        exits = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        with suppress(ProcessLookupError), select.kqueue() as queue:
            queue.control([exits], 1)
    else:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


class ChildProcess:
    """A process that this one started: a `Process`.

    `exited` is set once it has been reaped and nothing that it started is left, or after 2 s.
    """

    def __init__(self, popen: "subprocess.Popen[bytes]", members: Members) -> None:
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self.pid = popen.pid
        self.members = members
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._watch()

    def kill(self) -> None:
        """Send SIGKILL to the process and to whatever it started; does nothing when it is gone."""
        if self._popen.returncode is None:
            self.members.kill()

    def _watch(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # macOS, Linux before 5.3, no descriptor left
            threading.Thread(target=self._wait, daemon=True).start()
        else:
            self._loop.add_reader(descriptor, self._end, descriptor)

    def _wait(self) -> None:
        _wait_without_reaping(self.pid)
        with suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._sweep, KILLS)

    def _end(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._sweep(KILLS)

    def _sweep(self, left: int) -> None:
        """Kill what is left until there is nothing; only then reap, as that frees the numbers."""
        if self.members.kill() and left:
            self._loop.call_later(KILL_PAUSE_SECONDS, self._sweep, left - 1)
            return
        status = self._popen.wait()
        if not self.exited.done():
            self.exited.set_result(status)


class ProcessLauncher:
    """A Launcher that executes a plan's command."""

    async def start(self, plan: Plan, outlets: Outlets) -> ChildProcess:
        """Start a process and wait until it has become its command.

        Blocks the event loop for about 1 ms. Raises LaunchFailed, with the reason of the operating
        system, and ValueError for a plan without a command. If it is cancelled, nothing runs.
        """
        if not plan.command:
            raise ValueError("a plan without a command is for the fork server")
        process, status = _spawn(plan, outlets)
        try:
            complaint = await _read_all(status)
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(status)
        if complaint:
            await process.exited
            raise LaunchFailed(complaint.decode())
        return process


def _spawn(plan: Plan, outlets: Outlets) -> tuple[ChildProcess, int]:
    """Start the interpreter that becomes the command; return with it where it would complain."""
    status, theirs = os.pipe()
    with ExitStack() as undone:
        undone.callback(os.close, status)
        try:
            popen = _execute(plan, outlets, theirs)
        except OSError as error:
            raise LaunchFailed(f"{sys.executable}: {error}") from error
        finally:
            os.close(theirs)
        undone.callback(popen.wait)
        undone.callback(popen.kill)
        marker = plan.environ.get(MARKER, "")
        process = ChildProcess(popen, Members(popen.pid, plan.cgroups, marker))
        undone.pop_all()
    return process, status


def _execute(plan: Plan, outlets: Outlets, status: int) -> "subprocess.Popen[bytes]":
    namespaces = outlets.namespaces
    arguments = map(str, (status, os.getpid(), *namespaces))
    with _plan_file() as file:
        file.write(marshal.dumps(asdict(plan)))
        file.seek(0)
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", BOOT, *arguments],
            stdin=file,
            stdout=outlets.output,
            stderr=outlets.output,
            env={},
            pass_fds={status, outlets.log, *namespaces},
            start_new_session=True,
        )


def _plan_file() -> IO[bytes]:
    """Return a file without a name: variables are secrets, which arguments would show to all."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("plan"), "w+b")  # noqa: PTH123
    return tempfile.TemporaryFile()


async def _read_all(descriptor: int) -> bytes:
    """Read a pipe until its other end is closed."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    parts: list[bytes] = []

    def read() -> None:
        parts.append(os.read(descriptor, 4096))
        if not parts[-1] and not ended.done():
            ended.set_result(None)

    loop.add_reader(descriptor, read)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
    return b"".join(parts)


def open_namespaces(pid: int) -> tuple[int, ...]:
    """Open the namespaces of a process's room, the user namespace first, for `Outlets.namespaces`.

    The caller closes them; while they are open, /tmp lives. Empty when the process is gone.
    """
    found: list[int] = []
    try:
        found.extend(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in NAMESPACES)
    except OSError:
        for descriptor in found:
            os.close(descriptor)
        return ()
    return tuple(found)

"""What a forked process does to itself to become what its plan says.

It imports nothing of ours, like fork_server.py, which loads it with what the steps need.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from types import ModuleType
from typing import Any, NamedTuple

LOG_VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD"


class LoadedModules(NamedTuple):
    """What is loaded once and used by every child."""

    sandbox: ModuleType
    processes: ModuleType
    """fork_processes.py"""
    interpreter: ModuleType
    """fork_interpreter.py"""
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


def become(job: Job, runtime: LoadedModules) -> None:
    """Make the forked process what the plan says; ends it, with a report, when that fails."""
    report = job.report
    try:
        kept, namespaces, report = take_descriptors(job)
        runtime.interpreter.restore_signals()
        os.setsid()
        _die_with(job.server_pid, runtime)
        _replace_environ(job.plan["environ"], runtime)
        runtime.sandbox.enter(job.plan, tuple(namespaces))
        # A change of credentials, or of the user namespace, has taken it away: PR_SET_PDEATHSIG(2).
        _die_with(job.server_pid, runtime)
        runtime.interpreter.renew(runtime.main)
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


def _die_with(parent: int, runtime: LoadedModules) -> None:
    runtime.processes.end_with_parent()
    if os.getppid() != parent:
        os._exit(127)


def _replace_environ(environ: dict[str, str], runtime: LoadedModules) -> None:
    """Make these all the variables there are, and have /proc/PID/environ name the environment.

    A search for all processes of an environment reads them there; without this, a child shows the
    variables of the server.
    """
    os.environ.clear()
    os.environ.update(environ)
    address, size = runtime.shown_environ
    marker = runtime.processes.MARKER
    shown = f"{marker}={environ[marker]}".encode() if marker in environ else b""
    if size:
        # Nothing points there any more: every variable is in memory of its own.
        ctypes.memset(address, 0, size)
        ctypes.memmove(address, shown, len(shown) if len(shown) < size else 0)

"""Which processes belong to an environment, by one walk over /proc; with real processes."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.runtime import processes
from gateway.runtime.processes import MARKER, Table, families, read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

DAEMON = """
import os, signal, time
parent = os.getpid()
if not os.fork():
    os.setsid()
    while os.getppid() == parent: time.sleep(0.001)
    print(os.getpid(), flush=True)
    signal.pause()
"""
CHILD = """
import os, signal
child = os.fork()
if child: print(child, flush=True)
signal.pause()
"""


@contextmanager
def process(code: str, marker: str = "") -> Iterator[tuple[int, int]]:
    """Run Python code that prints the number of another process; yields both."""
    variables = {MARKER: marker} if marker else {}
    command = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, start_new_session=True
    ) as first:
        assert first.stdout
        other = int(first.stdout.readline())
        try:
            yield first.pid, other
        finally:
            os.kill(other, 9)
            first.kill()


def test_one_walk_tells_the_processes_of_all_environments() -> None:
    one, two, third = (secrets.token_hex(8) for _ in range(3))
    with (
        process(CHILD, one) as (first, child),
        process(DAEMON, two) as (daemon_parent, daemon),
        process(CHILD) as (plain, plain_child),
    ):
        found = families({one: first, two: 0, third: plain, "other": 0})

    assert (found[one], found[two]) == ({first, child}, {daemon})
    assert (found[third], found["other"]) == ({plain, plain_child}, set())
    assert daemon_parent not in found[two]  # it has ended


def test_child_of_a_marked_process_counts_whatever_its_variables_are() -> None:
    marker = secrets.token_hex(8)
    code = (
        "import os, signal, subprocess, sys\n"
        "command = [sys.executable, '-I', '-S', '-c', 'import signal; signal.pause()']\n"
        "print(subprocess.Popen(command, env={}, start_new_session=True).pid, flush=True)\n"
        "signal.pause()"
    )
    with process(code, marker) as (first, child):
        found = families({marker: 0})

    assert found == {marker: {first, child}}


def test_process_without_a_marker_belongs_to_none() -> None:
    with process(CHILD) as (first, child):
        found = families({"": 0})

    assert not found[""] & {first, child}


def test_what_is_older_than_the_gateway_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    marker = secrets.token_hex(8)
    with process(CHILD, marker) as (first, child):
        monkeypatch.setattr(processes, "_own_start", lambda: 2**62)
        passed_over = families({marker: first})
        monkeypatch.undo()
        found = families({marker: first})

    assert (passed_over, found) == ({marker: set()}, {marker: {first, child}})


def test_walk_that_is_not_fresh_sees_what_came_and_what_went(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = secrets.token_hex(8), secrets.token_hex(8)
    table = Table()
    with process(CHILD, one) as (first, child):
        before = table.families({one: first, two: 0}, is_fresh=True)
        row, rows = processes._row, list[int]()
        monkeypatch.setattr(processes, "_row", lambda pid: (rows.append(pid), row(pid))[1])
        with process(DAEMON, two) as (_, daemon):
            during = table.families({one: first, two: 0}, is_fresh=False)
    after = table.families({one: 0, two: 0}, is_fresh=False)

    assert before == {one: {first, child}, two: set()}
    assert during == {one: {first, child}, two: {daemon}}
    assert first not in after[one]  # it has been reaped, unlike its children perhaps
    assert daemon in rows
    assert not {first, child, os.getpid()} & set(rows)


def test_where_there_is_no_proc_there_are_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_names", lambda _: [])
    processes._own_start.cache_clear()
    monkeypatch.setattr(processes, "read", lambda _: b"")

    assert families({"marker": os.getpid()}) == {"marker": set()}
    processes._own_start.cache_clear()


def test_file_that_cannot_be_read_is_empty() -> None:
    assert (read("/no/such/file"), read("/")) == (b"", b"")
    assert processes._names("/no/such/directory") == []

"""What a parent and its workers agree on; processes are in tests/e2e/test_rolling.py."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.core.errors import InvalidSetting
from gateway.core.limits import Limits
from gateway.server.parent import (
    GRACE_SECONDS,
    Parent,
    division,
    leave_seconds,
)
from gateway.server.stage import Stage
from gateway.server.systemd import notifier

FUNCTION = Function("app.handler", Path())
PATIENCE_SECONDS = 10.0


def served(workers: int = 2, function: Function = FUNCTION, **more: object) -> Document:
    return document(function, workers=workers, **more)


# --- what is divided ---


@pytest.mark.parametrize(
    ("described", "line"),
    [
        (served(2), "workers: 2; concurrency 50 = 2 x 25"),
        (served(3), "workers: 3; concurrency 50 = 2 x 17 + 1 x 16"),
        (served(2, concurrency=2), "workers: 2; concurrency 2 = 2 x 1"),
        (
            served(2, concurrency=7, min_environments=1),
            "workers: 2; concurrency 7 = 1 x 4 + 1 x 3; min-environments 1 = 1 x 1 + 1 x 0",
        ),
        (
            served(2, is_in_process=True),
            "workers: 2; concurrency 16 = 2 x 8; threads 16 = 2 x 8",
        ),
        (
            served(2, is_in_process=True, threads=5),
            "workers: 2; concurrency 16 = 2 x 8; threads 5 = 1 x 3 + 1 x 2",
        ),
        (served(2, is_in_process=True, threads=0), "workers: 2; concurrency 16 = 2 x 8"),
    ],
)
def test_division_is_said_in_a_line(described: Document, line: str) -> None:
    assert division(described) == line


def test_division_of_several_functions_names_each() -> None:
    whole = served(2)
    more = (*whole.functions, replace(FUNCTION, name="cart"))
    first = whole.functions[0].completed_name()

    assert division(replace(whole, functions=more)).splitlines() == [
        f"{first}: workers: 2; concurrency 50 = 2 x 25",
        "cart: workers: 2; concurrency 50 = 2 x 25",
    ]


# --- deaths ---


def test_worker_may_take_as_long_as_its_drain() -> None:
    limits = Limits(drain_seconds=3)
    slow = replace(FUNCTION, timeout_seconds=60)

    assert leave_seconds(served(limits=limits)) == 3 + GRACE_SECONDS
    assert leave_seconds(served(function=slow, limits=limits)) == 3 + GRACE_SECONDS
    uvicorn = served(function=slow, limits=limits, server="uvicorn")
    assert leave_seconds(uvicorn) == 60 + GRACE_SECONDS


# --- a parent whose processes are made up ---


class FakeProcess:
    """A worker that is ready at once and ends at the first signal."""

    pid = 4711
    made: "list[FakeProcess]"
    failures: list[bool | None]
    """Of each start: whether it fails, None for one that is never ready."""

    def __init__(self, *_command: object, pass_fds: tuple[int, ...], **_options: object) -> None:
        failure = self.failures.pop(0) if self.failures else False
        if failure:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.status: int | None = None
        with socket.socket(fileno=os.dup(pass_fds[0])) as channel:
            if failure is not None:
                channel.sendall(b"isolation: none\0")
        self.made.append(self)

    def end(self, status: int) -> None:
        self.status = status
        os.kill(os.getpid(), signal.SIGCHLD)

    def poll(self) -> int | None:
        return self.status

    def send_signal(self, number: int) -> None:
        self.end(-number)

    def kill(self) -> None:
        self.end(-signal.SIGKILL)


@contextmanager
def parent(
    monkeypatch: pytest.MonkeyPatch, *failures: bool | None
) -> Iterator[tuple[Parent, list[FakeProcess], "asyncio.Queue[str]", asyncio.Event]]:
    """A parent of two, its processes as they are made, what it says, and whether all serve;
    `failures` says which of the starts fail."""
    fake = type("Fake", (FakeProcess,), {"made": [], "failures": [*failures]})
    monkeypatch.setattr(subprocess, "Popen", fake)
    for module in ("gateway.server.parent", "gateway.core.delays"):
        monkeypatch.setattr(f"{module}.LONGEST_DELAY_SECONDS", 0.01)
    said: asyncio.Queue[str] = asyncio.Queue()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        silent = notifier({}, lambda: 0.0)
        ready = asyncio.Event()
        stage = Stage(served(2), None, (listening,), silent, lambda _: ready.set())
        yield Parent(stage, said.put_nowait), fake.made, said, ready


async def test_parent_that_can_start_no_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with parent(monkeypatch, True) as (tested, made, _, _), pytest.raises(InvalidSetting) as caught:
        await tested.run()

    assert str(caught.value) == "workers cannot be started: Resource temporarily unavailable"
    assert made == []


async def test_second_worker_that_cannot_start_ends_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with parent(monkeypatch, False, True) as (tested, made, _, _), pytest.raises(InvalidSetting):
        await tested.run()

    assert [process.status for process in made] == [-signal.SIGTERM]


async def run_until_said(
    tested: Parent,
    said: "asyncio.Queue[str]",
    ready: asyncio.Event,
    act: Callable[[], None],
    count: int,
) -> list[str]:
    """Act when all serve, and stop after this many lines."""
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(tested.run())
        await ready.wait()
        act()
        lines = [await said.get() for _ in range(count)]
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 0
    return lines


async def test_dead_worker_is_tried_again_until_there_can_be_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with parent(monkeypatch, False, False, True, True, False) as (tested, made, said, ready):
        lines = await run_until_said(tested, said, ready, lambda: made[1].end(1), 3)

    assert lines == [
        "worker 2 (process 4711) ended with status 1; another one starts now",
        *["worker 2 cannot be started: Resource temporarily unavailable"] * 2,
    ]


async def test_roll_without_a_process_leaves_the_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with parent(monkeypatch, False, False, True) as (tested, made, said, ready):
        hang_up = partial(os.kill, os.getpid(), signal.SIGHUP)
        [line] = await run_until_said(tested, said, ready, hang_up, 1)

    assert line == "worker 1 is not replaced: Resource temporarily unavailable"
    assert len(made) == 2


async def test_roll_waits_for_a_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.parent.READY_SECONDS", 0.01)
    with parent(monkeypatch, False, False, None) as (tested, made, said, ready):
        hang_up = partial(os.kill, os.getpid(), signal.SIGHUP)
        [line] = await run_until_said(tested, said, ready, hang_up, 1)

    assert line == "worker 1 is not replaced: its successor was not ready after 0.01 s"
    assert [process.status for process in made] == [-signal.SIGTERM] * 3


async def test_worker_that_hangs_at_its_start_is_killed_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.server.parent.READY_SECONDS", 0.01)
    with parent(monkeypatch, False, False, None) as (tested, made, said, ready):
        lines = await run_until_said(tested, said, ready, lambda: made[1].end(1), 2)

    assert lines == [
        "worker 2 (process 4711) ended with status 1; another one starts now",
        "worker 2 (process 4711) was ended by SIGKILL; "
        "another one starts in 0.01 s, after 2 quick exits in a row",
    ]


async def test_worker_that_is_ready_in_time_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.server.parent.READY_SECONDS", 0.05)
    with parent(monkeypatch) as (tested, made, said, ready):

        def act() -> None:
            made[1].end(1)
            asyncio.get_running_loop().call_later(0.2, lambda: made[2].end(3))

        lines = await run_until_said(tested, said, ready, act, 2)

    assert "(process 4711) ended with status 3" in lines[1]

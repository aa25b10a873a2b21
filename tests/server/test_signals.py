"""What a signal does before the server listens to it."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.server.signals import StartEnded, end_start, on_stop, start_that_can_be_ended


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give the process back its handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signal_ends_a_start_that_waits(number: int) -> None:
    async def start() -> None:
        with start_that_can_be_ended():
            os.kill(os.getpid(), number)
            await asyncio.get_running_loop().create_future()

    with pytest.raises(StartEnded) as caught:
        await start()

    assert caught.value.number == number


async def test_cancellation_that_no_signal_has_caused_stays_one() -> None:
    async def start() -> None:
        with start_that_can_be_ended():
            await asyncio.get_running_loop().create_future()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(start())
        await asyncio.wait({task}, timeout=0.01)
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


def test_both_stop_signals_call_the_handler() -> None:
    received: list[int] = []
    on_stop(lambda number, _frame: received.append(number))
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)

    assert sorted(received) == [signal.SIGINT, signal.SIGTERM]


def test_signal_before_the_event_loop_ends_the_start() -> None:
    with pytest.raises(StartEnded):
        end_start(signal.SIGHUP, None)


def test_terminal_is_told_from_a_pipe() -> None:
    primary, secondary = pty.openpty()
    program = "from gateway.server.signals import terminals; print(terminals(), flush=True)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdin=secondary,
            capture_output=True,
            check=True,
        )
    finally:
        os.close(primary)
        os.close(secondary)

    assert done.stdout == b"[0]\n"

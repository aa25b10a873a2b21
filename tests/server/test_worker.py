"""What a worker and its parent tell each other; whole workers are in tests/e2e/test_rolling.py."""

import socket
import threading

import pytest

from gateway.server.worker import REPLACED, WorkerSlot, ending


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with status 0"),
        (2, "ended with status 2"),
        (-9, "was ended by SIGKILL"),
        (-50, "was ended by signal 50"),
    ],
)
def test_ending_is_said_in_words(status: int, words: str) -> None:
    assert ending(status) == words


def test_ready_worker_tells_its_parent_in_a_line() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        WorkerSlot(3, theirs).say_ready("isolation: some\n2 lines")

        assert ours.recv(100) == b"isolation: some\n2 lines\0"


def test_ready_worker_of_a_dead_parent_goes_on() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        WorkerSlot(0, theirs).say_ready("isolation: some")

        assert theirs.fileno() >= 0


def test_replaced_worker_hears_of_it_and_of_its_parents_death(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told, stopped = threading.Event(), threading.Event()
    monkeypatch.setattr("gateway.server.worker.stop_this_process", stopped.set)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        slot = WorkerSlot(0, theirs)
        slot.on_replaced = told.set
        slot.watch_parent()
        ours.sendall(REPLACED)
        assert told.wait(10)
        assert not stopped.is_set()
        ours.close()
        assert stopped.wait(10)

    assert capfd.readouterr().err == "gateway: the parent has died, worker 1 stops\n"

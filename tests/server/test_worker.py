"""What a worker and its parent tell each other; whole workers are in tests/e2e/test_workers.py."""

import os
import socket
import threading

import pytest

from gateway.core.errors import InvalidSetting
from gateway.server.worker import REPLACED, VARIABLE, Place, ending, taken_place


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


def test_place_is_taken_out_of_the_variables() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours, theirs = socket.socketpair()
        given = (os.dup(listening.fileno()), theirs.detach())
        environ = {VARIABLE: "3 {} {}".format(*given), "HOME": "/"}
        with ours, taken_place(environ) as place:
            assert place
            place.say_ready("isolation: some")

            assert environ == {"HOME": "/"}
            assert place.number == 3
            assert place.listening.getsockname() == listening.getsockname()
            assert not any(map(os.get_inheritable, given))
            assert ours.recv(100) == b"isolation: some\n"


@pytest.mark.parametrize("given", ["x", "0", "0 999998 999999"])
def test_place_that_no_parent_gave_is_refused(given: str) -> None:
    environ = {VARIABLE: given}

    with pytest.raises(InvalidSetting, match=r"is set by the parent of workers; unset it$"):
        taken_place(environ).__enter__()
    assert environ == {}


def test_process_without_a_parent_has_no_place() -> None:
    with taken_place({"HOME": "/"}) as place:
        assert place is None


def test_ready_worker_of_a_dead_parent_reports_to_no_process() -> None:
    ours, theirs = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    environ = {VARIABLE: f"0 {listening.detach()} {theirs.detach()}"}
    ours.close()
    with taken_place(environ) as place:
        assert place
        place.say_ready("isolation: some")
        assert place.channel.fileno() >= 0


def test_replaced_worker_hears_of_it_and_of_its_parents_death(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told, stopped = threading.Event(), threading.Event()
    monkeypatch.setattr("gateway.server.worker.stop_this_process", stopped.set)
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as listening:
        place = Place(0, listening, theirs)
        place.on_replaced = told.set
        place.watch_parent()
        ours.sendall(REPLACED)
        assert told.wait(10)
        assert not stopped.is_set()
        ours.close()
        assert stopped.wait(10)

    assert capfd.readouterr().err == "gateway: the parent has died, worker 1 stops\n"

"""The program of a worker: what it does with what its parent sends; whole workers are in
tests/e2e/test_workers.py."""

import fcntl
import signal
import socket
import struct
import subprocess
import sys
import termios
from dataclasses import replace

import pytest

from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.server.assignment import Assignment, message
from gateway.server.worker import PROGRAM
from tests.e2e.leftovers import wait_until

pytestmark = pytest.mark.slow

NOWHERE = document(Function("nothing.handler", name="shop"), port=0, workers=2)


def ended(
    sent: bytes, *descriptors: int, is_dead: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Run the program with what its parent sends, which may then be dead."""
    ours, theirs = socket.socketpair()
    with theirs, ours:
        ours.sendall(sent)
        if is_dead:
            ours.shutdown(socket.SHUT_WR)
        return subprocess.run(
            [sys.executable, "-P", str(PROGRAM), str(theirs.fileno())],
            pass_fds=(theirs.fileno(), *descriptors),
            capture_output=True,
            check=False,
        )


def unread(sender: socket.socket) -> int:
    """Return how many bytes the other side has not read."""
    (count,) = struct.unpack("i", fcntl.ioctl(sender, termios.TIOCOUTQ, b"\0" * 4))
    return int(count)


def assignment(described: Document, listening: socket.socket) -> bytes:
    return message(Assignment(described, (listening.fileno(),), is_successor=False))


@pytest.mark.parametrize("length", [0, 3, 10, -1])
def test_worker_whose_parent_dies_before_it_knows_its_work_ends_quietly(length: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sent = assignment(NOWHERE, listening)[:length]
        done = ended(sent, listening.fileno(), is_dead=True)

    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_interrupt_before_a_worker_knows_its_work_ends_it_without_a_traceback() -> None:
    ours, theirs = socket.socketpair()
    with theirs, ours:
        ours.sendall(b"\0")
        command = [sys.executable, "-P", str(PROGRAM), str(theirs.fileno())]
        with subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE
        ) as worker:
            wait_until(lambda: not unread(ours), "it reads its work")
            worker.send_signal(signal.SIGINT)
            _, errors = worker.communicate()

    assert (worker.returncode, errors) == (-signal.SIGINT, b"")


def test_worker_that_cannot_start_says_why_and_ends_with_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        quiet = replace(NOWHERE, process=replace(NOWHERE.process, is_quiet=True))
        done = ended(assignment(quiet, listening), listening.fileno())

    assert done.returncode == 2
    assert b"Unable to import module 'nothing'" in done.stderr
    assert done.stderr.startswith(b"gateway: ")

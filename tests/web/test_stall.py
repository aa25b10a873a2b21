"""Clients that take nothing of what was written to them; whole connections:
test_connection_deadlines.py."""

import asyncio
import socket

import pytest

from gateway.core.limits import Progress
from gateway.web.stall import Stall


class Option(socket.socket):
    """A socket that keeps which options were set."""

    def __init__(self) -> None:
        self.options: list[int] = []

    def setsockopt(self, *arguments: object) -> None:
        self.options.append(arguments[1])  # type: ignore[arg-type]

    def close(self) -> None:
        pass


class Waiting(asyncio.Transport):
    """A transport in which this many bytes wait."""

    def __init__(self, waiting: int, *, has_socket: bool = True) -> None:
        self.socket = Option()
        super().__init__({"socket": self.socket} if has_socket else {})
        self.waiting = waiting
        self.high: int | None = None
        self.is_aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.is_aborted = True


def test_time_begins_with_what_is_not_taken_and_again_with_every_byte_that_is() -> None:
    transport, progress = Waiting(10), Progress()
    stall = Stall(transport, progress)
    assert transport.high == 0

    stall.look(1.0)
    assert progress.stalled_at is None
    stall.begin(2.0)
    stall.look(3.0)
    assert progress.stalled_at == 2.0
    transport.waiting = 9
    stall.look(4.0)
    assert progress.stalled_at == 4.0
    stall.look(5.0)
    assert progress.stalled_at == 4.0
    stall.end(6.0)
    assert (progress.stalled_at, progress.active_at) == (None, 6.0)


@pytest.mark.parametrize(
    ("is_stalled", "has_socket", "options"),
    [(False, True, []), (True, True, [socket.SO_LINGER]), (True, False, [])],
)
def test_client_that_takes_nothing_is_reset_and_others_are_closed(
    is_stalled: bool, has_socket: bool, options: list[int]
) -> None:
    transport = Waiting(10, has_socket=has_socket)
    stall = Stall(transport, Progress())
    if is_stalled:
        stall.begin(1.0)

    stall.abort()

    assert transport.is_aborted
    assert transport.socket.options == options

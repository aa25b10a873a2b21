"""Ports of Runtime APIs: none is given out twice within a minute, and none leaks."""

import socket
from typing import Any

import pytest

from gateway.runtime import ports
from gateway.runtime.ports import RecentPorts, bound_socket, free_port
from tests.runtime.environments import descriptor_count


class Bound:
    """A socket with a port of the test's choice, which may be unable to listen."""

    def __init__(self, port: int, *, can_listen: bool = True) -> None:
        self.port, self.can_listen, self.is_closed = port, can_listen, False

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def listen(self, _backlog: int) -> None:
        if not self.can_listen:
            raise OSError("no room")

    def close(self) -> None:
        self.is_closed = True


def test_a_port_given_back_is_not_used_for_a_minute() -> None:
    sockets = [Bound(port) for port in (7, 8, 7)]
    drawn: Any = iter(sockets)
    recent = RecentPorts()
    recent.add(7, 100.0)

    assert free_port(159.9, recent, drawn.__next__).getsockname()[1] == 8
    assert free_port(160.0, recent, drawn.__next__).getsockname()[1] == 7
    assert [it.is_closed for it in sockets] == [True, False, False]


def test_the_memory_of_ports_is_bounded() -> None:
    recent = RecentPorts()
    for port in range(ports.PORTS + 1):
        recent.add(port, 0.0)

    assert not recent.has(0, 1.0)
    assert recent.has(1, 1.0)
    assert not recent.has(1, 60.0)


def test_a_machine_without_other_ports_gets_one_all_the_same() -> None:
    recent = RecentPorts()
    recent.add(7, 0.0)
    sockets = [Bound(7) for _ in range(ports.PORT_TRIES + 1)]
    drawn: Any = iter(sockets)

    assert free_port(1.0, recent, drawn.__next__).getsockname()[1] == 7
    assert [it.is_closed for it in sockets] == [True] * ports.PORT_TRIES + [False]


def test_a_port_is_one_of_loopback_that_listens() -> None:
    with free_port(0.0) as listening, socket.create_connection(listening.getsockname()) as client:
        assert client.getpeername()[0] == "127.0.0.1"


def test_a_socket_that_gets_no_port_is_closed() -> None:
    before = descriptor_count()
    with pytest.raises(OSError, match="assign"):
        bound_socket("192.0.2.1")  # of no machine (RFC 5737)

    assert descriptor_count() == before


def test_a_socket_that_cannot_listen_is_closed() -> None:
    deaf: Any = Bound(7, can_listen=False)
    with pytest.raises(OSError, match="no room"):
        free_port(0.0, RecentPorts(), lambda: deaf)

    assert deaf.is_closed

"""Ports of Runtime APIs: none is given out twice within a minute, and none leaks."""

import socket
from typing import Any

import pytest

from gateway.runtime import ports
from gateway.runtime.ports import RecentPorts


def test_a_port_given_back_is_not_used_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([7, 8, 7, 9])
    sockets: list[Any] = []

    class Bound:
        def __init__(self) -> None:
            self.port, self.is_closed = next(drawn), False
            sockets.append(self)

        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", self.port

        def listen(self, _backlog: int) -> None: ...

        def close(self) -> None:
            self.is_closed = True

    recent = RecentPorts()
    recent.add(7, 100.0)
    monkeypatch.setattr(ports, "RECENT_PORTS", recent)
    monkeypatch.setattr(ports, "bound_socket", Bound)

    assert ports.free_port(159.9).getsockname()[1] == 8
    assert ports.free_port(160.0).getsockname()[1] == 7
    assert [it.is_closed for it in sockets] == [True, False, False]


def test_the_memory_of_ports_is_bounded() -> None:
    recent = RecentPorts()
    for port in range(ports.PORTS + 1):
        recent.add(port, 0.0)

    assert not recent.has(0, 1.0)
    assert recent.has(1, 1.0)
    assert not recent.has(1, 60.0)


def test_a_machine_without_other_ports_gets_one_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recent = RecentPorts()
    monkeypatch.setattr(recent, "has", lambda port, now: True)
    monkeypatch.setattr(ports, "RECENT_PORTS", recent)

    with ports.free_port(0.0) as listening:
        assert listening.getsockname()[1]


def test_a_socket_that_gets_no_port_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[Any] = []

    def refuse(it: Any, _address: object) -> None:
        bound.append(it)
        raise OSError("no port")

    monkeypatch.setattr(socket.socket, "bind", refuse, raising=False)
    with pytest.raises(OSError, match="no port"):
        ports.bound_socket()

    assert bound[0].fileno() == -1


def test_a_socket_that_cannot_listen_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def refuse(it: Any, _backlog: int) -> None:
        tried.append(it)
        raise OSError("no room")

    monkeypatch.setattr(socket.socket, "listen", refuse, raising=False)
    with pytest.raises(OSError, match="no room"):
        ports.free_port(0.0)

    assert tried[0].fileno() == -1

"""Loopback ports for the Runtime APIs of environments; none is given out twice within a minute."""

import socket
from collections import OrderedDict
from collections.abc import Callable

BACKLOG = 16

PORT_SECONDS = 60
"""How long a port is not given to another environment: a stray client may still know it."""

PORTS = 4096
"""How many given back are remembered."""

PORT_TRIES = 64


class RecentPorts:
    """The ports that were given back, oldest first; bounded."""

    def __init__(self) -> None:
        self._ports: OrderedDict[int, float] = OrderedDict()

    def add(self, port: int, now: float) -> None:
        """Remember a port that was given back now."""
        self._ports.pop(port, None)
        self._ports[port] = now
        if len(self._ports) > PORTS:
            self._ports.popitem(last=False)

    def has(self, port: int, now: float) -> bool:
        """Say whether a port was given back less than 60 s ago."""
        return now - self._ports.get(port, -PORT_SECONDS) < PORT_SECONDS


RECENT_PORTS = RecentPorts()
"""One for the process, because the machine's ports are one set for all environments."""


def bound_socket(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket on a port that the system chose, a loopback one; raises OSError."""
    bound = socket.socket()
    try:
        bound.setblocking(False)  # noqa: FBT003 - the standard library's signature
        bound.bind((host, 0))
    except OSError:
        bound.close()
        raise
    return bound


def free_port(
    now: float,
    recent: RecentPorts = RECENT_PORTS,
    bound: Callable[[], socket.socket] = bound_socket,
) -> socket.socket:
    """Return a listening socket on a loopback port that no environment had in the last 60 s.

    When there is hardly another one it takes what it gets. Raises OSError and leaves none open.
    """
    passed_over: list[socket.socket] = []
    try:
        while True:
            listening = bound()
            port = listening.getsockname()[1]
            if len(passed_over) >= PORT_TRIES or not recent.has(port, now):
                return listening_socket(listening)
            passed_over.append(listening)  # held meanwhile, so that the next one is another
    finally:
        for held in passed_over:
            held.close()


def listening_socket(bound: socket.socket) -> socket.socket:
    """Return the socket, listening now; raises OSError with the socket closed."""
    try:
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound

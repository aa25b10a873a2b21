"""Clients by the hundred, from several addresses of this machine, that leave a gateway with all
that they can make it hold."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event
from time import perf_counter

from tests.e2e.serving import DEADLINE_SECONDS, Server

SMALL_WINDOW_BYTES = 4096
"""The system of a client that reads nothing takes no more."""

QUIET_SECONDS = 0.5
"""After this time without a byte sent, no more is taken."""


@contextmanager
def crowd(
    server: Server, count: int, *, addresses: int = 1, tls: ssl.SSLContext | None = None
) -> Iterator[list[socket.socket]]:
    """Connect this many clients, from 127.0.0.2 and the addresses after it in turn."""
    with ExitStack() as stack:
        clients = []
        for number in range(count):
            client = stack.enter_context(connected(server, f"127.0.0.{2 + number % addresses}"))
            if tls is not None:
                client = stack.enter_context(tls.wrap_socket(client))
            client.setblocking(False)
            clients.append(client)
        yield clients


def connected(server: Server, address: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW_BYTES)
    client.settimeout(DEADLINE_SECONDS)
    client.bind((address, 0))
    client.connect(("127.0.0.1", server.port))
    return client


def push(clients: list[socket.socket], data: bytes) -> int:
    """Send the same to each, as far as it is taken; returns how many bytes were."""
    left = dict.fromkeys(clients, memoryview(data))
    moved_at, total = perf_counter(), 0
    while left and perf_counter() - moved_at < QUIET_SECONDS:
        sent = sum(_push(left, client) for client in list(left))
        total += sent
        if sent:
            moved_at = perf_counter()
        else:
            Event().wait(0.01)  # the gateway has to take what was sent
    return total


def _push(left: dict[socket.socket, memoryview], client: socket.socket) -> int:
    try:
        sent = client.send(left[client][: 64 * 1024])
    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return 0
    except OSError:  # it was closed
        del left[client]
        return 0
    left[client] = left[client][sent:]
    if not left[client]:
        del left[client]
    return sent

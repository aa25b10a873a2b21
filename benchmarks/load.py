"""A closed-loop HTTP/1.1 load: N keep-alive connections, one request at a time on each.

Blocking sockets behind one poll(): 5 to 12 us of CPU a request, kernel included, so that a single
process saturates every server measured here but the floor. A response is checked by its status
and its length, which the first one sets; anything else ends the run.

Where it has a core for itself it never sleeps: to wake a sleeping client costs the server that
writes to it up to 15 us (measured on a virtual machine), and the slower the server, the more often
its client sleeps.
"""

import gc
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import cpus

RESPONSE_SECONDS = 10
READ_BYTES = 65536
OK = b"HTTP/1.1 200"


@dataclass(frozen=True)
class Load:
    """What came of one run."""

    seconds: float
    latencies: list[float] = field(repr=False)
    """Seconds, one for every completed request, sorted."""

    def percentile(self, share: float) -> float:
        """Return the latency that this share of requests did not exceed."""
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]


class Client:
    """Connections to one server that all send the same request."""

    def __init__(self, sockets: list[socket.socket], request: bytes) -> None:
        self._sockets = {each.fileno(): each for each in sockets}
        self._request = request
        self._partial = dict.fromkeys(self._sockets, b"")
        self._wait_ms = 0 if cpus.client_is_alone() else RESPONSE_SECONDS * 1000
        self._poll = select.poll()
        for descriptor in self._sockets:
            self._poll.register(descriptor, select.POLLIN)
        self._length = response_length(sockets[0], request)

    def run(self, seconds: float) -> Load:
        """Send for these seconds, then wait for what is outstanding."""
        gc.collect()
        gc.disable()
        try:
            return self._run(seconds)
        finally:
            gc.enable()

    def _run(self, seconds: float) -> Load:
        started = perf_counter()
        sent = dict.fromkeys(self._sockets, started)
        for each in self._sockets.values():
            each.sendall(self._request)
        latencies: list[float] = []
        while sent:
            self._turn(sent, latencies, started + seconds)
            if perf_counter() > started + seconds + RESPONSE_SECONDS:
                raise RuntimeError(f"no response within {RESPONSE_SECONDS} s")
        return Load(perf_counter() - started, sorted(latencies))

    def _turn(self, sent: dict[int, float], latencies: list[float], end: float) -> None:
        """Take every response that is there; before the end, send the next request for it."""
        for descriptor, _ in self._poll.poll(self._wait_ms):
            data = self._sockets[descriptor].recv(READ_BYTES)
            now = perf_counter()
            is_whole = len(data) == self._length and data.startswith(OK)
            if not is_whole and not self._is_complete(descriptor, data):
                continue
            latencies.append(now - sent.pop(descriptor))
            if now < end:
                sent[descriptor] = now
                self._sockets[descriptor].send(self._request)

    def _is_complete(self, descriptor: int, data: bytes) -> bool:
        """Join the pieces of a response that came in several."""
        joined = self._partial[descriptor] + data
        if not data or not joined.startswith(OK) or len(joined) > self._length:
            raise RuntimeError(f"unexpected response: {joined!r}")
        is_complete = len(joined) == self._length
        self._partial[descriptor] = b"" if is_complete else joined
        return is_complete


def response_length(connection: socket.socket, request: bytes) -> int:
    """Return how long the response to this request is, head and body."""
    connection.sendall(request)
    data = b""
    while (length := declared_length(data)) is None or len(data) < length:
        received = connection.recv(READ_BYTES)
        if not received:
            raise RuntimeError(f"the connection was closed after {data!r}")
        data += received
    if not data.startswith(OK):
        raise RuntimeError(f"unexpected response: {data!r}")
    return length


def declared_length(data: bytes) -> int | None:
    """Return the length of head and body, None while the head is not complete."""
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end:
        return None
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(head) + len(end) + int(value)
    raise RuntimeError(f"no Content-Length in {head!r}")


@contextmanager
def connected(port: int, request: bytes, connections: int) -> Iterator[Client]:
    """Open the connections to a server on loopback and close them at the end."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(port)) for _ in range(connections)]
        yield Client(sockets, request)


def connect(port: int) -> socket.socket:
    """Return a connection that neither delays small writes nor waits without a limit."""
    connection = socket.create_connection(("127.0.0.1", port), RESPONSE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(True)  # noqa: FBT003 - the standard library's signature
    return connection

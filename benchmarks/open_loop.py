"""An open-loop HTTP/1.1 load: requests leave at a fixed rate, whether answers come or not.

python benchmarks/open_loop.py PORT RATE SECONDS [--path /] [--connections N] [--fresh-every N]

Prints one JSON object. A latency runs from the moment a request was due if it had to wait for a
connection, else from the moment it was sent: a client that is late itself does not blame the
server. What was not answered with 200 is counted by its status or by what happened to the
connection. Only loopback is addressed; requests, connections and time are bounded by the
arguments.
"""

import argparse
import gc
import json
import select
import socket
import sys
from collections import Counter, defaultdict
from time import perf_counter

import cpus
from load import declared_length

MOST_REQUESTS, MOST_SECONDS = 2_000_000, 3600
ANSWER_SECONDS = 10
"""How long answers are waited for when the last request has left."""

READ_BYTES = 65536


class Exchange:
    """One connection: what it waits for, if anything, and what has come of it."""

    __slots__ = ("is_fresh", "received", "since", "socket")

    def __init__(self, port: int, *, is_fresh: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self.is_fresh = is_fresh
        self.received = b""
        self.since = 0.0

    def read(self) -> bool:
        """Take what is there; says whether the response is complete, raises when it ends early."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("closed")
        self.received += data
        length = declared_length(self.received)
        return length is not None and len(self.received) >= length


class OpenLoop:
    """Sends one request over and over, at a rate."""

    def __init__(self, port: int, request: bytes, *, connections: int, fresh_every: int) -> None:
        self._port = port
        self._request = request
        self._most = connections
        self._fresh_every = fresh_every
        self._poll = select.epoll()
        self._idle: list[Exchange] = []
        self._busy: dict[int, Exchange] = {}
        self._due: list[float] = []
        self._sent = 0
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()

    def run(self, rate: float, seconds: float) -> float:
        """Send at this rate for a time; returns the seconds until everything was answered."""
        gc.disable()
        started = perf_counter()
        total = int(rate * seconds)
        while self._sent + len(self._due) < total or self._due or self._busy:
            now = perf_counter()
            if now > started + seconds + ANSWER_SECONDS:
                self.errors["no answer"] += len(self._busy) + len(self._due)
                break
            planned = min(total, int((now - started) * rate) + 1)
            self._due += [now] * (planned - self._sent - len(self._due))
            self._send_due()
            following = started + planned / rate if planned < total else now + 0.1
            self._receive(max(0.0, following - perf_counter()))
        return perf_counter() - started

    def _send_due(self) -> None:
        while self._due:
            exchange = self._connection()
            if exchange is None:
                return
            exchange.since = self._due.pop(0)
            exchange.received = b""
            self._sent += 1
            try:
                exchange.socket.send(self._request)
            except OSError as error:
                self._fail(exchange, error)
                continue
            self._busy[exchange.socket.fileno()] = exchange

    def _connection(self) -> Exchange | None:
        """Return a connection to send on, or None when all are waiting."""
        is_fresh = bool(self._fresh_every) and self._sent % self._fresh_every == 0
        if self._idle and not is_fresh:
            return self._idle.pop()
        if len(self._busy) + len(self._idle) >= self._most + is_fresh:
            return None
        try:
            exchange = Exchange(self._port, is_fresh=is_fresh)
        except OSError as error:
            self.errors[f"connect: {error}"] += 1
            self._due.pop(0)
            self._sent += 1
            return None
        self._poll.register(exchange.socket.fileno(), select.EPOLLIN)
        return exchange

    def _receive(self, seconds: float) -> None:
        """Wait so long for answers; select() counts microseconds, poll() would count
        milliseconds."""
        if not select.select([self._poll], [], [], seconds)[0]:
            return
        for descriptor, _ in self._poll.poll(0):
            exchange = self._busy.get(descriptor)
            if exchange is None:
                self._forget_idle(descriptor)
                continue
            try:
                if exchange.read():
                    self._answered(exchange)
            except OSError as error:
                del self._busy[descriptor]
                self._fail(exchange, error)

    def _answered(self, exchange: Exchange) -> None:
        status = exchange.received[9:12].decode("latin-1")
        self.latencies[status].append(perf_counter() - exchange.since)
        del self._busy[exchange.socket.fileno()]
        if exchange.is_fresh or b"\r\nConnection: close\r\n" in exchange.received:
            self._close(exchange)
        else:
            self._idle.append(exchange)

    def _fail(self, exchange: Exchange, error: OSError) -> None:
        self.errors[type(error).__name__] += 1
        self._close(exchange)

    def _close(self, exchange: Exchange) -> None:
        self._poll.unregister(exchange.socket.fileno())
        exchange.socket.close()

    def _forget_idle(self, descriptor: int) -> None:
        """The server closed a connection between two requests."""
        for exchange in [each for each in self._idle if each.socket.fileno() == descriptor]:
            self._idle.remove(exchange)
            self._close(exchange)


def percentile(latencies: list[float], share: float) -> float:
    """Return, in milliseconds, the latency that this share of requests did not exceed."""
    if not latencies:
        return 0.0
    return round(sorted(latencies)[min(int(len(latencies) * share), len(latencies) - 1)] * 1000, 3)


def summary(loop: OpenLoop, seconds: float, cpu_seconds: float) -> dict[str, object]:
    """Return what came of a run."""
    by_status = {
        status: {
            "count": len(values),
            "p50_ms": percentile(values, 0.5),
            "p99_ms": percentile(values, 0.99),
            "max_ms": percentile(values, 1.0),
        }
        for status, values in sorted(loop.latencies.items())
    }
    return {
        "seconds": round(seconds, 3),
        "by_status": by_status,
        "errors": dict(loop.errors),
        "client_cpu": round(cpu_seconds / seconds, 3),
    }


def main() -> None:
    """Run one load and print what came of it."""
    parser = argparse.ArgumentParser(description="Load at a fixed rate.")
    parser.add_argument("port", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--path", default="/")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--fresh-every", type=int, default=0)
    options = parser.parse_args()
    if not 0 < options.rate * options.seconds <= MOST_REQUESTS or options.seconds > MOST_SECONDS:
        parser.error(f"up to {MOST_REQUESTS} requests in up to {MOST_SECONDS} seconds")
    cpus.pin_client()
    request = f"GET {options.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n".encode()
    loop = OpenLoop(
        options.port, request, connections=options.connections, fresh_every=options.fresh_every
    )
    elapsed = loop.run(options.rate, options.seconds)
    json.dump(summary(loop, elapsed, cpus.used_seconds()), sys.stdout)


if __name__ == "__main__":
    main()

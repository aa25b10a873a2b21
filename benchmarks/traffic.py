"""Steady traffic over connections that are kept: what no reload may lose.

python benchmarks/traffic.py URL RATE [--http1 200] [--http2 20]

Runs until its standard input ends or 120 seconds are over, then prints one JSON object. Each
connection sends its share of the rate and opens again where the server says so: after `Connection:
close`, GOAWAY or an end between requests. What counts as an error is a request without a complete
response of status 200. A request written into a connection that the server closed in the same
moment, without a byte of response, is counted apart, as raced. Only loopback is addressed.
"""

import argparse
import asyncio
import json
import ssl
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from time import perf_counter
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import uvloop

MOST_SECONDS = 120
ANSWER_SECONDS = 20
READ_BYTES = 65536
FRAME_HEAD, GOAWAY, ANY_STREAM = 9, 7, 2**31 - 1


@dataclass
class Tally:
    """What came of the requests."""

    answered: Counter[str] = field(default_factory=Counter)
    """Responses of status 200 by their body."""
    errors: Counter[str] = field(default_factory=Counter)
    raced: int = 0
    connections: int = 0
    certificates: Counter[str] = field(default_factory=Counter)
    """Connections by the certificate shown: the beginning of its SHA-256."""
    seconds: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, object]:
        """Return what is printed."""
        ordered = sorted(self.seconds)
        of = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        times = {
            name: round(ordered[int(share * (len(ordered) - 1))] * 1000, 2) if ordered else None
            for name, share in of.items()
        }
        return {
            "answered": dict(self.answered),
            "errors": dict(self.errors),
            "raced": self.raced,
            "connections": self.connections,
            "certificates": dict(self.certificates),
            **times,
        }


class Raced(Exception):
    """The connection ended before any byte of the response."""


@cache
def unverified(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Return the context of all clients that speak these; each takes 10 to 250 ms to make."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


class Client:
    """One connection at a time to the server, opened again when the old one is over."""

    protocols = ("http/1.1",)

    def __init__(self, url: str, tally: Tally) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 443
        self.tally = tally
        self.context = unverified(self.protocols) if parts.scheme == "https" else None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect, unless the open connection goes on."""
        if self.writer and not self.reader.at_eof():
            return
        await self.close()
        self.reader, self.writer = await asyncio.open_connection(
            self.host, self.port, ssl=self.context
        )
        self.tally.connections += 1
        if self.context:
            shown = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.tally.certificates[sha256(shown).hexdigest()[:16]] += 1
        self.begin()

    def begin(self) -> None:
        """Say what a new connection begins with."""

    async def close(self) -> None:
        """End the connection."""
        if self.writer:
            self.writer.close()
            with suppress(OSError, ssl.SSLError):
                await self.writer.wait_closed()
            self.writer = None

    async def run(self, pace: AsyncIterator[None]) -> None:
        """Send a request at each beat."""
        async for _ in pace:
            try:
                await self.open()
            except OSError as error:
                self.tally.errors[f"connect: {type(error).__name__}"] += 1
                continue
            await self._one()
        await self.close()

    async def _one(self) -> None:
        started = perf_counter()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                body = await self.exchange()
        except Raced:
            self.tally.raced += 1
            await self.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            self.tally.errors[f"{type(error).__name__}: {error}"] += 1
            await self.close()
        else:
            self.tally.answered[body.decode()[:40]] += 1
            self.tally.seconds.append(perf_counter() - started)

    async def exchange(self) -> bytes:
        """Send a request; returns the response's body, raises when it is not 200."""
        raise NotImplementedError


class Http1(Client):
    """HTTP/1.1 with keep-alive."""

    async def exchange(self) -> bytes:
        assert self.writer
        host = f"{self.host}:{self.port}"
        self.writer.write(f"GET /steady HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if getattr(error, "partial", b""):
                raise
            raise Raced from error
        lines = head.decode("latin-1").lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await self.reader.readexactly(int(fields["content-length"]))
        if not lines[0].startswith("http/1.1 200"):
            raise ValueError(lines[0])
        if fields.get("connection") == "close":
            await self.close()
        return body


class Http2(Client):
    """HTTP/2, one stream after the other."""

    protocols = ("h2",)

    def begin(self) -> None:
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.codec = h2.connection.H2Connection(config)
        self.codec.initiate_connection()
        self.is_leaving = False
        self.last_stream = ANY_STREAM
        self.unread = b""

    async def exchange(self) -> bytes:
        assert self.writer
        stream = self.codec.get_next_available_stream_id()
        authority = f"{self.host}:{self.port}"
        head = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": "/steady"}
        self.codec.send_headers(stream, list(head.items()), end_stream=True)
        self.writer.write(self.codec.data_to_send())
        status, body = await self._answer(stream)
        self.writer.write(self.codec.data_to_send())
        if self.is_leaving:
            await self.close()
        if status != "200":
            raise ValueError(f"http/2 {status}")
        return body

    async def _answer(self, stream: int) -> tuple[str, bytes]:
        """Return status and body of the response to come."""
        status, body = "", b""
        while True:
            for event in await self._events(stream, begun=bool(status)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    self.codec.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamReset):
                    raise ConnectionResetError(f"stream reset with {event.error_code}")
                elif isinstance(event, h2.events.StreamEnded):
                    return status, body

    async def _events(self, stream: int, *, begun: bool) -> list[h2.events.Event]:
        assert self.writer
        data = await self.reader.read(READ_BYTES)
        if not data:
            raise EOFError("in a response") if begun else Raced
        frames = self._without_goaway(data)
        if self.last_stream < stream:
            raise Raced
        events = self.codec.receive_data(frames)
        self.writer.write(self.codec.data_to_send())
        return events

    def _without_goaway(self, data: bytes) -> bytes:
        """Return whole frames, and record each GOAWAY among them.

        The library would take nothing behind one, though streams up to the last one that it names
        are still answered (RFC 9113 section 6.8).
        """
        self.unread += data
        kept = b""
        while len(self.unread) >= FRAME_HEAD:
            size = FRAME_HEAD + int.from_bytes(self.unread[:3], "big")
            if len(self.unread) < size:
                break
            frame, self.unread = self.unread[:size], self.unread[size:]
            if frame[3] == GOAWAY:
                self._leave(frame[FRAME_HEAD:])
            else:
                kept += frame
        return kept

    def _leave(self, goaway: bytes) -> None:
        last_stream, code = struct.unpack(">II", goaway[:8])
        if code:
            raise ConnectionResetError(f"GOAWAY with {code}")
        self.is_leaving = True
        self.last_stream = min(self.last_stream, last_stream)

    async def open(self) -> None:
        """Connect, unless the open connection goes on: a GOAWAY may wait unread."""
        if self.writer and not self.is_leaving:
            with suppress(TimeoutError, Raced):
                async with asyncio.timeout(0):
                    await self._events(0, begun=False)
        if self.writer and self.is_leaving:
            await self.close()
        await super().open()


async def beats(index: int, seconds: float, count: int, over: asyncio.Event) -> AsyncIterator[None]:
    """Yield at a fixed rate, each connection at its own moment, until it is over."""
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds * index / count
    while not over.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await over.wait()
                return
        yield
        due = max(due + seconds, loop.time())


async def drive(url: str, rate: float, counts: dict[type[Client], int]) -> Tally:
    """Keep the traffic up until standard input ends."""
    tally, over = Tally(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), over.set)
    loop.call_later(MOST_SECONDS, over.set)
    clients = [kind(url, tally) for kind, count in counts.items() for _ in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for index, client in enumerate(clients):
            pace = beats(index, len(clients) / rate, len(clients), over)
            tasks.create_task(client.run(pace))
    loop.remove_reader(sys.stdin.fileno())
    return tally


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("rate", type=float)
    parser.add_argument("--http1", type=int, default=200)
    parser.add_argument("--http2", type=int, default=20)
    asked = parser.parse_args()
    if urlsplit(asked.url).hostname not in {"127.0.0.1", "::1", "localhost"}:
        parser.error("only loopback is addressed")
    counts: dict[type[Client], int] = {Http1: asked.http1, Http2: asked.http2}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(drive(asked.url, asked.rate, counts))
    print(json.dumps(tally.figures()))


if __name__ == "__main__":
    main()

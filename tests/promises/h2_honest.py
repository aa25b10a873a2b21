"""An honest HTTP/2 client over TLS: a number of requests a second, on time, over two connections.

`python -m tests.promises.h2_honest PORT SECONDS` prints the latencies in milliseconds and what went
wrong. A connection that was told GOAWAY is replaced, as every client does.
"""

import asyncio
import json
import ssl
import sys
import time
from contextlib import suppress

from tests.promises.h2_attackers import GET, PREFACE, SETTINGS
from tests.web.h2_peer import frame

PER_SECOND = 200
CONNECTIONS = 2
DATA, HEADERS, RST_STREAM, GOAWAY = 0, 1, 3, 7
PATIENCE_SECONDS = 10
ANSWERED = b"\x88"
"""How the head of a response of 200 begins: entry 8 of the static table (RFC 7541 appendix A)."""

WIDE = frame(8, 0, 0, b"\x3f\xff\x00\x00")


class Figures:
    """What has become of the requests."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.errors: dict[str, int] = {}
        self.changed = asyncio.Event()

    def fail(self, reason: str, count: int = 1) -> None:
        if count:
            self.errors[reason] = self.errors.get(reason, 0) + count
        self.changed.set()


class Client:
    """One connection."""

    def __init__(self, port: int, figures: Figures) -> None:
        self._port = port
        self._figures = figures
        self._asked: dict[int, float] = {}
        self._next = 1
        self.is_ending = False

    async def connect(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=context, server_hostname="a"
        )
        self._writer.write(PREFACE + SETTINGS + WIDE)

    def ask(self) -> None:
        self._asked[self._next] = time.perf_counter()
        self._writer.write(frame(1, 5, self._next, GET))
        self._next += 2

    @property
    def open(self) -> int:
        return len(self._asked)

    async def read(self) -> None:
        """Take what comes until the connection ends."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        self.is_ending = True
        self._figures.fail("closed", len(self._asked))
        self._asked.clear()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == GOAWAY:
            self.is_ending = True
        elif kind == RST_STREAM and self._asked.pop(stream, None):
            self._figures.fail(f"reset {payload.hex()}")
        elif kind == HEADERS and not payload.startswith(ANSWERED):
            self._figures.fail("status")
        if kind in (DATA, HEADERS) and flags & 1 and stream in self._asked:
            took = time.perf_counter() - self._asked.pop(stream)
            self._figures.took.append(took * 1000)
            self._figures.changed.set()

    def close(self) -> None:
        self._writer.close()


class Load:
    """Requests at their times, over connections that are replaced when they end."""

    def __init__(self, port: int, figures: Figures, tasks: asyncio.TaskGroup) -> None:
        self._port = port
        self._figures = figures
        self._tasks = tasks
        self._readers: list[asyncio.Task[None]] = []
        self._every: list[Client] = []

    async def _connected(self) -> Client:
        client = Client(self._port, self._figures)
        await client.connect()
        self._every.append(client)
        self._readers.append(self._tasks.create_task(client.read()))
        return client

    async def run(self, seconds: float) -> None:
        """Ask so long, then wait for the answers."""
        loop = asyncio.get_running_loop()
        clients = [await self._connected() for _ in range(CONNECTIONS)]
        began = loop.time()
        for number in range(int(seconds * PER_SECOND)):
            # An open loop: a slow answer delays no later request.
            await asyncio.sleep(max(0.0, began + number / PER_SECOND - loop.time()))  # noqa: TID251
            place = number % CONNECTIONS
            if clients[place].is_ending:
                clients[place] = await self._connected()
            clients[place].ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._wait_for_answers()
        self._figures.fail("unanswered", self._open())

    async def _wait_for_answers(self) -> None:
        while self._open():
            self._figures.changed.clear()
            await self._figures.changed.wait()

    def _open(self) -> int:
        return sum(client.open for client in self._every)

    def end(self) -> None:
        """Close all connections."""
        for task in self._readers:
            task.cancel()
        for client in self._every:
            client.close()


async def main(port: int, seconds: float) -> None:
    figures = Figures()
    async with asyncio.TaskGroup() as tasks:
        load = Load(port, figures, tasks)
        await load.run(seconds)
        load.end()
    print(json.dumps({"took": sorted(figures.took), "errors": figures.errors}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))

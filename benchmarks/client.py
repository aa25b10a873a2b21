"""What one exchange with a remote endpoint costs the caller, by HTTP client: the gateway's own,
aiohttp, pyreqwest, and httpx for reference.

All drive the same loopback server in a process of its own, at 1 and at 32 connections, in turns, on
uvloop. The CPU time is that of this process with all its threads. A client that is not installed is
left out: pip install aiohttp pyreqwest. Run: python benchmarks/client.py [--json] [--quick]
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec

import httpx
import uvloop
from machine import description
from process import running

from gateway.wire.client import Peer, PeerSettings

Exchange = Callable[[], Awaitable[int]]
"""Sends one request and returns the status of its response."""

Client = Callable[[int, int], AbstractAsyncContextManager[Exchange]]
"""Takes the server's port and how many connections to use."""

SERVER = "benchmarks/servers/floor.py"
TARGET = "/2015-03-31/functions/function/invocations"
HEADERS = {
    "Content-Type": "application/json",
    "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678",
    "X-Amz-Date": "20261122T191544Z",
}
BODY = json.dumps({"path": "/any/path", "body": "x" * 1000}).encode()
DEADLINE_SECONDS = 30.0

CONNECTIONS = (1, 32)
ROUNDS, QUICK_ROUNDS = 7, 1
EXCHANGES, QUICK_EXCHANGES = 4000, 500
WARM_UP = 200


@asynccontextmanager
async def own(port: int, connections: int) -> AsyncIterator[Exchange]:
    """The gateway's client."""
    loop = asyncio.get_running_loop()
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    settings = PeerSettings(connections=connections)
    async with Peer("http", "127.0.0.1", port, settings) as peer:

        async def exchange() -> int:
            deadline = loop.time() + DEADLINE_SECONDS
            reply = await peer.exchange(b"POST", TARGET.encode(), headers, BODY, deadline=deadline)
            return reply.status

        yield exchange


@asynccontextmanager
async def with_aiohttp(port: int, connections: int) -> AsyncIterator[Exchange]:
    """aiohttp, with all of its own speed-ups."""
    import aiohttp  # noqa: PLC0415 - may not be installed

    url = f"http://127.0.0.1:{port}{TARGET}"
    timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
    connector = aiohttp.TCPConnector(limit=connections)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=jar
    ) as session:

        async def exchange() -> int:
            posted = session.post(url, data=BODY, headers=HEADERS, allow_redirects=False)
            async with posted as response:
                await response.read()
                return response.status

        yield exchange


@asynccontextmanager
async def with_pyreqwest(port: int, connections: int) -> AsyncIterator[Exchange]:
    """pyreqwest, Rust's reqwest on a thread of its own."""
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - may not be installed

    url = f"http://127.0.0.1:{port}{TARGET}"
    builder = ClientBuilder().http1_only().no_proxy().follow_redirects(False)  # noqa: FBT003
    limited = builder.max_connections(connections).timeout(timedelta(seconds=DEADLINE_SECONDS))
    async with limited.build() as client:

        async def exchange() -> int:
            response = await client.post(url).headers(HEADERS).body_bytes(BODY).build().send()
            await response.bytes()
            return response.status

        yield exchange


@asynccontextmanager
async def with_httpx(port: int, connections: int) -> AsyncIterator[Exchange]:
    """httpx, which the hot path does without."""
    url = f"http://127.0.0.1:{port}{TARGET}"
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(
        limits=limits, timeout=DEADLINE_SECONDS, trust_env=False
    ) as client:

        async def exchange() -> int:
            return (await client.post(url, content=BODY, headers=HEADERS)).status_code

        yield exchange


CLIENTS: dict[str, Client] = {
    "own": own,
    "aiohttp": with_aiohttp,
    "pyreqwest": with_pyreqwest,
    "httpx": with_httpx,
}


async def turn(client: Client, port: int, connections: int, count: int) -> dict[str, float]:
    """Return the figures of this many exchanges, after some that do not count."""
    times: list[float] = []

    async def several(number: int) -> None:
        for _ in range(number):
            began = time.perf_counter()
            status = await exchange()
            times.append(time.perf_counter() - began)
            if status != 200:
                raise RuntimeError(f"the server answered {status}")

    async def all_connections(number: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(several(max(1, number // connections)))

    async with client(port, connections) as exchange:
        await all_connections(WARM_UP)
        times.clear()
        used, began = time.process_time(), time.perf_counter()
        await all_connections(count)
        used, took = time.process_time() - used, time.perf_counter() - began
    cuts = statistics.quantiles(times, n=100)
    return {
        "cpu_us": used / len(times) * 1e6,
        "p50_us": cuts[49] * 1e6,
        "p99_us": cuts[98] * 1e6,
        "per_second": len(times) / took,
    }


def measured(*, is_quick: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Return the median over all rounds of every figure, by connections and client."""
    rounds, count = (QUICK_ROUNDS, QUICK_EXCHANGES) if is_quick else (ROUNDS, EXCHANGES)
    names = [name for name in CLIENTS if name == "own" or find_spec(name)]
    turns: dict[tuple[int, str], list[dict[str, float]]] = {}
    with running(SERVER) as server:
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for name in names:
                    figures = uvloop.run(turn(CLIENTS[name], server.port, connections, count))
                    turns.setdefault((connections, name), []).append(figures)
    return {
        str(connections): {name: medians(turns[connections, name]) for name in names}
        for connections in CONNECTIONS
    }


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {key: round(statistics.median(turn[key] for turn in turns), 1) for key in turns[0]}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work?")
    options = parser.parse_args()
    found = measured(is_quick=options.quick)
    if options.json:
        print(json.dumps({"machine": description(), "connections": found}, indent=2))
        return
    print(
        f"{'connections':>11} {'client':>10} {'CPU us':>8} {'p50 us':>8} {'p99 us':>8} {'1/s':>8}"
    )
    for connections, clients in found.items():
        for name, row in clients.items():
            cells = " ".join(f"{figure:8.0f}" for figure in row.values())
            print(f"{connections:>11} {name:>10} {cells}")


if __name__ == "__main__":
    main()

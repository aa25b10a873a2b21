"""A dumb sink for attackers: takes whatever comes, understands nothing, and ends every connection.

A connection ends SECONDS after it was opened, or with one fixed answer as soon as an empty line or
16 KB have come, so that attackers find the same round of connecting, sending and being cut off
that they find at a gateway, at the least cost that Python has.

    python benchmarks/servers/sink.py SECONDS
"""

import asyncio
import sys

import uvloop

ANSWER = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
MOST_BYTES = 16384
SECONDS = float(sys.argv[1])


class Sink(asyncio.Protocol):
    """Drops bytes."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection, for a limited time."""
        self._transport = transport
        self._count = 0
        self._timer = asyncio.get_running_loop().call_later(SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer what may be a whole head, but leave bodies and large pages to the timer."""
        self._count += len(data)
        is_slow = data.startswith((b"POST /body", b"GET /large"))
        if (b"\r\n\r\n" in data and not is_slow) or self._count > MOST_BYTES:
            self._transport.write(ANSWER)
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the timer."""
        self._timer.cancel()


async def serve() -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0, backlog=2048)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())

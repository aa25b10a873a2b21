"""The other side of remote invocations at the least cost that Python has: whatever the request, the
answer is one fixed reply of a function behind a load balancer.

    python benchmarks/servers/invoke_endpoint.py [COUNT]

With a COUNT it listens at 127.0.0.1, 127.0.0.2 and so on, at the same port: Linux has them all.
"""

import asyncio
import sys

import httptools
import uvloop

REPLY = (
    b'{"statusCode":200,"headers":{"content-type":"text/plain; charset=utf-8"},'
    b'"body":"Hello from Lambda! GET /any/path\\n"}'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Amz-Executed-Version: $LATEST\r\n"
ANSWER = HEAD + b"Content-Length: %d\r\n\r\n" % len(REPLY) + REPLY


class Endpoint(asyncio.Protocol):
    """Answers each request of one connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Read requests."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer; called by the parser."""
        self._transport.write(ANSWER)


async def serve() -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    server = await loop.create_server(Endpoint, "127.0.0.1", 0, backlog=2048)
    port = server.sockets[0].getsockname()[1]
    for number in range(2, count + 1):
        await loop.create_server(Endpoint, f"127.0.0.{number}", port)
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())

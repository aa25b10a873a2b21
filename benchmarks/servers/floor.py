"""The floor: what uvloop and httptools cost when nothing else happens; one fixed answer."""

import asyncio

import httptools
import uvloop

RESPONSE = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: awselb/2.0\r\n"
    b"Date: Mon, 05 Jan 2026 10:11:12 GMT\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 32\r\n"
    b"Connection: keep-alive\r\n"
    b"\r\n"
    b"Hello from floor! GET /any/path\n"
)


class Floor(asyncio.Protocol):
    """Parses requests and writes the fixed answer to each."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(RESPONSE)


async def serve() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())

"""A client of the Runtime API that splits its bytes as a test likes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

PATIENCE_SECONDS = 10.0
RUNTIME = "/2018-06-01/runtime"
NEXT = f"GET {RUNTIME}/invocation/next HTTP/1.1\r\nHost: HOST\r\n\r\n".encode()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection to the server."""

    def __init__(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = address
        self.reader, self.writer = reader, writer

    def addressed(self, request: bytes) -> bytes:
        """Return a request with the address of the server as its Host."""
        return request.replace(b"Host: HOST\r\n", f"Host: {self.address}\r\n".encode())

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(self.addressed(piece))
            await asyncio.wait_for(self.writer.drain(), PATIENCE_SECONDS)

    async def answer(self) -> Answer:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:-2])
            body = await self.reader.readexactly(int(headers.get("Content-Length", 0)))
        return Answer(int(lines[0].split(" ")[1]), headers, body)

    async def ask(self, *pieces: bytes) -> Answer:
        await self.send(*pieces)
        return await self.answer()

    async def is_at_end(self) -> bool:
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Client]:
    host, port = address.split(":")
    client = Client(address, *await asyncio.open_connection(host, int(port)))
    try:
        yield client
    finally:
        client.writer.transport.abort()


async def until(condition: Callable[[], Any]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_SECONDS
    while not condition():
        assert loop.time() < end
        turn = loop.create_future()
        loop.call_later(0.002, turn.set_result, None)
        await turn


def post(path: str, body: bytes = b"{}", *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    head = f"POST {RUNTIME}/{path} HTTP/1.1\r\nHost: HOST\r\n{lines}Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def chunked(path: str, *chunks: bytes, trailers: str = "", declared: tuple[str, ...] = ()) -> bytes:
    lines = "".join(f"Trailer: {name}\r\n" for name in declared)
    head = (
        f"POST {RUNTIME}/{path} HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n{lines}\r\n"
    )
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head.encode() + body + b"0\r\n" + trailers.encode() + b"\r\n"

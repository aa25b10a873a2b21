"""The baseline of every ratio: uvicorn's own command line, exactly as written in OPTIONS, and a
hello.

The command line's Server is replaced by one that, once it listens, says which parser and loop it
really got, and ends when they are others: h11, which a plain install takes, costs three times as
much, and every ratio would flatter us.
"""

import asyncio
import importlib
import socket
import sys

import uvicorn
from uvicorn.main import main

OPTIONS = ("--http", "httptools", "--loop", "uvloop", "--no-access-log", "--no-server-header")
EXPECTED = ("uvicorn.protocols.http.httptools_impl.HttpToolsProtocol", "uvloop.Loop")

BODY = b"Hello from uvicorn! GET /any/path\n"
HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(BODY)),
]


async def hello(_scope, _receive, send):
    """Answer whatever comes with the same greeting (lifespan raises inside send: unsupported)."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


class AnnouncedServer(uvicorn.Server):
    """uvicorn's server, which says what it runs on and where it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, check the parser and the loop, print the address."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        found = (path_of(self.config.http_protocol_class), path_of(type(loop)))
        print(f"parser {found[0]}, loop {found[1]}")
        if found != EXPECTED:
            sys.exit(f"the baseline wants {EXPECTED}")
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}", flush=True)


def path_of(kind: type) -> str:
    """Return a class's full name."""
    return f"{kind.__module__}.{kind.__qualname__}"


if __name__ == "__main__":
    importlib.import_module("uvicorn.main").Server = AnnouncedServer
    main(["baseline:hello", "--port", "0", *OPTIONS])

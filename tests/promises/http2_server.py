"""A listener that speaks HTTP/2 alone, in a process of its own whose memory is seen.

`python -m tests.promises.http2_server [CERTIFICATE]` prints where it listens; the file has the key
too. What it answers is in the path:
`/size/N` that many bytes, `/hold` nothing at all, everything else a greeting.
"""

import asyncio
import secrets
import ssl
import sys
import time

from gateway.core.desync import Mode
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.limits import Limits
from gateway.core.listener import ListenerAddress
from gateway.core.notices import OperatorWarning
from gateway.core.pages import Pages
from gateway.web.front import Front
from gateway.web.h2_connection import Http2Connection
from gateway.web.shared_room import SharedRoom


class Clock:
    """The real one."""

    now = staticmethod(time.time)  # noqa: TID251
    monotonic = staticmethod(time.monotonic)  # noqa: TID251


class Sink:
    """Prints what operators should read."""

    def emit(self, notice: object) -> None:
        if isinstance(notice, OperatorWarning):
            print(notice.text, flush=True)


class Sized:
    """A Responder that does what the path says."""

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        _, kind, *more = request.raw_path.split(b"/")
        if kind == b"hold":
            await asyncio.Event().wait()
        body = b"x" * int(more[0]) if kind == b"size" else b"hello"
        headers = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"%d" % len(body))]
        return HttpResponse(200, "OK", headers, body, 2, 0)


async def main() -> None:
    front = Front(
        Sized(),
        listener=ListenerAddress("http", 80, "shop.example.org"),
        pages=Pages(),
        sink=Sink(),
        clock=Clock(),  # type: ignore[arg-type]
        draw=lambda count: secrets.token_hex(count)[:count],
        limits=Limits(),
        mode=Mode.DEFENSIVE,
        at_once=1000,
    )
    front.start_sweep()
    shared = SharedRoom(50, front)
    loop = asyncio.get_running_loop()
    context = None
    if len(sys.argv) > 1:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[1])
        context.set_alpn_protocols(["h2"])
    server = await loop.create_server(
        lambda: Http2Connection(front, shared), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]
    print(f"listening on http{'s' if context else ''}://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

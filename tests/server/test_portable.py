"""The portable front under uvicorn, until a signal comes; whole processes are in test_run.py."""

import asyncio
import os
import signal
import socket

from gateway.compose.listener import portable_front
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.listener import ListenerAddress
from gateway.server.portable import serve_portable
from gateway.server.stage import Stage
from gateway.server.systemd import notifier

PATIENCE_SECONDS = 10.0


class Hello:
    """A Responder that greets."""

    async def respond(self, _request: HttpRequest, /) -> HttpResponse:
        return HttpResponse(200, "OK", [(b"Content-Length", b"5")], b"hello")


async def ask(address: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


async def test_signal_ends_what_has_answered() -> None:
    described = document(Function("app.handler", name="shop"), port=0, server="uvicorn")
    seen_as = ListenerAddress("http", 80, "shop-1.eu-west-1.elb.amazonaws.com")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        front = portable_front(described.listeners[0], seen_as, Hello(), None)
        silent = notifier({}, lambda: 0.0)
        stage = Stage(described, None, (listening,), silent, lambda _: None)
        is_ready = asyncio.Event()
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(serve_portable(front, stage, is_ready.set))
            await is_ready.wait()
            answer = await ask(address)
            os.kill(os.getpid(), signal.SIGTERM)
            await task
    for number, handler in handlers.items():
        signal.signal(number, handler)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"hello")

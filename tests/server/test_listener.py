"""Several fronts on their sockets, until a signal comes."""

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from gateway.compose.listener import listener_front
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.listener import ListenerAddress
from gateway.server.listener import ServedFront, serve_fronts
from gateway.server.stage import Stage
from gateway.server.systemd import notifier
from gateway.web.h1_connection import Http1Connection

PATIENCE_SECONDS = 10.0
SEEN_AS = ListenerAddress("http", 80, "shop-1.eu-west-1.elb.amazonaws.com")
ONE = document(Function("app.handler", name="shop"), port=0)


class Named:
    """A Responder whose body is its name."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    async def respond(self, _request: HttpRequest, /) -> HttpResponse:
        return HttpResponse(200, "OK", [(b"Content-Length", b"1")], self._name)


async def ask(listening: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


async def test_every_listener_has_its_responder_and_a_signal_ends_all() -> None:
    with ExitStack() as stack:
        served = []
        for name in (b"a", b"b"):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listening.setblocking(False)
            front = listener_front(ONE.listeners[0], SEEN_AS, Named(name), None, at_once=1)
            served.append(ServedFront(front, partial(Http1Connection, front), listening))
        sockets = tuple(one.listening for one in served)
        two = replace(ONE, listeners=ONE.listeners * 2)
        stage = Stage(two, None, sockets, notifier({}, lambda: 0.0), lambda _: None)
        is_ready = asyncio.Event()
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(serve_fronts(served, stage, is_ready.set))
            await is_ready.wait()
            answers = [await ask(listening) for listening in sockets]
            os.kill(os.getpid(), signal.SIGTERM)
            await task

    assert [answer[-1:] for answer in answers] == [b"a", b"b"]
    assert all(answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in answers)

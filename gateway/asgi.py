"""The gateway as an ASGI application, for any ASGI server.

    from gateway.asgi import application
    app = application("app.handler", code="src")          # hypercorn main:app

or without a file of your own, from the environment (`GATEWAY_HANDLER`, `GATEWAY_CODE`,
`GATEWAY_ATTRIBUTES`, `GATEWAY_AS`):

    GATEWAY_HANDLER=app.handler granian --interface asgi gateway.asgi:app

`GATEWAY_ATTRIBUTES` has one `KEY=VALUE` after the other, in quotes where there are blanks, as a
shell would take them.
"""

import asyncio
import os
import shlex
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from gateway.compose.gateway import Gateway, gateway
from gateway.compose.listener import address, portable_front, responder
from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.config.listener import Listener
from gateway.core.attributes import Attributes, with_attribute
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.listener import DEFAULT_PORTS, listener_address
from gateway.web.asgi import AsgiFront, Scope, Send, plain_scheme
from gateway.web.asgi_body import Receive
from gateway.web.server_headers import ServerHeaders


class RunningGateway:
    """A gateway in a task of its own, which both starts and ends it: an application is called by
    many tasks, and what a gateway consists of has to end in the task that started it.

    The task has no owner but the event loop: one that ends, ends what no lifespan has ended.
    """

    def __init__(self, document: Document, sink: Sink | None) -> None:
        """Start it on the running event loop."""
        self.loop = asyncio.get_running_loop()
        self._gateway: asyncio.Future[Gateway] = self.loop.create_future()
        self._ending = asyncio.Event()
        self._task = self.loop.create_task(self._run(document, sink))

    async def _run(self, document: Document, sink: Sink | None) -> None:
        async with gateway(document, sink=sink) as running:
            self._gateway.set_result(running)
            await self._ending.wait()

    async def started(self) -> Gateway:
        """Wait until it runs; raises what the start raises, for every caller."""
        either: set[asyncio.Future[Any]] = {self._gateway, self._task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        return self._gateway.result()

    def is_over(self) -> bool:
        """Say whether it has ended, or could not start."""
        return self._task.done()

    async def end(self) -> None:
        """End it."""
        self._ending.set()
        await asyncio.wait({self._task})


class Application:
    """An ASGI application that starts its workers on the lifespan, or at the first request
    without one.

    It serves one event loop at a time: on a new one it starts afresh, because a test suite may give
    every test its own.
    """

    def __init__(
        self,
        document: Document,
        sink: Sink | None = None,
        server_headers: ServerHeaders = "auto",
    ) -> None:
        """Take what to run; of its listeners only what they make of requests counts, not where
        they listen."""
        self._document = document
        self._server_headers = server_headers
        self._sink = sink
        self._running: RunningGateway | None = None
        self._fronts: dict[tuple[str, int], AsgiFront] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            front = await self._front(scope)
            await front(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._started()
        except InvalidSetting as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        try:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        finally:
            await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _started(self) -> Gateway:
        """Return the gateway of this event loop; the first caller starts it, and others wait."""
        running = self._running
        loop = asyncio.get_running_loop()
        if running is None or running.loop is not loop or running.is_over():
            self._fronts.clear()
            running = self._running = RunningGateway(self._document, self._sink)
        return await running.started()

    async def _stop(self) -> None:
        running, self._running = self._running, None
        self._fronts.clear()
        if running is not None:
            await running.end()

    async def _front(self, scope: Scope) -> AsgiFront:
        """Return the front of the listener that a scope came through, by scheme and port."""
        running = await self._started()
        scheme = plain_scheme(scope)
        _, port = scope.get("server") or ("", None)
        key = scheme, port or DEFAULT_PORTS[scheme]
        if key not in self._fronts:
            listener = self._listener(key[1])
            seen_as = address(self._document, listener, *key)
            found = responder(self._document, listener, seen_as, running.invoker)
            front = portable_front(listener, seen_as, found, self._sink, self._server_headers)
            self._fronts[key] = front
        return self._fronts[key]

    def _listener(self, port: int) -> Listener:
        """Return the document's listener on a port, else its first one."""
        listeners = self._document.listeners
        return next((one for one in listeners if one.port == port), listeners[0])


def application(  # noqa: PLR0913 - one parameter per setting
    handler: str,
    *,
    code: str | Path = ".",
    attributes: Sequence[str] = (),
    as_url: str = "",
    concurrency: int = 16,
    timeout_seconds: float = 3.0,
    sink: Sink | None = None,
    server_headers: ServerHeaders = "auto",
) -> Application:
    """Return an ASGI application around a handler; `attributes` are AWS's `KEY=VALUE`s.

    `server_headers` says whether Server and Date are sent: "auto" leaves out what uvicorn and
    hypercorn add, "send" and "omit" decide for other servers, and where middleware hides them.
    Raises InvalidSetting. The process's environment variables and streams are left as they are.
    """
    if as_url:
        listener_address(as_url)
    described = document(
        Function(handler, Path(code), timeout_seconds=timeout_seconds),
        attributes=reduce(with_attribute, attributes, Attributes()),
        seen_as=as_url,
        is_in_process=True,
        concurrency=concurrency,
    )
    return Application(described, sink, server_headers)


def from_environment() -> Application:
    """Return the application that `GATEWAY_HANDLER` and its companions describe."""
    return application(
        os.environ["GATEWAY_HANDLER"],
        code=os.environ.get("GATEWAY_CODE", "."),
        attributes=words(os.environ.get("GATEWAY_ATTRIBUTES", "")),
        as_url=os.environ.get("GATEWAY_AS", ""),
    )


def words(text: str) -> list[str]:
    """Return the words of a text as a shell splits them; raises InvalidSetting."""
    try:
        return shlex.split(text)
    except ValueError as error:
        message = f"GATEWAY_ATTRIBUTES: {str(error).lower()}; a value with blanks needs two quotes"
        raise InvalidSetting(message) from error


def __getattr__(name: str) -> Any:
    """Say what is missing when a server asks for an `app` that there is not."""
    if name != "app":
        raise AttributeError(name)
    raise InvalidSetting("set GATEWAY_HANDLER to module.function to serve gateway.asgi:app")


if os.environ.get("GATEWAY_HANDLER"):  # hypercorn looks into the module's dict for it
    app = from_environment()

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
from contextlib import AsyncExitStack
from functools import reduce
from pathlib import Path
from typing import Any

from gateway.compose import in_process, listener
from gateway.config.settings import Function, Serving
from gateway.core.attributes import Attributes, with_attribute
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.core.listener import DEFAULT_PORTS, listener_from_url
from gateway.invokers.code import HandlerCode
from gateway.invokers.in_process import InProcess
from gateway.web.asgi import AsgiFront, Receive, Scope, Send, plain_scheme
from gateway.web.server_headers import ServerHeaders


class Application:
    """An ASGI application that starts its workers on the lifespan, or at the first request
    without one.

    It serves one event loop at a time: on a new one it starts afresh, because a test suite may give
    every test its own.
    """

    def __init__(
        self, serving: Serving, sink: Sink | None, server_headers: ServerHeaders = "auto"
    ) -> None:
        self._serving = serving
        self._server_headers = server_headers
        self._sink = sink
        self._stack = AsyncExitStack()
        self._invoker: InProcess | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
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

    async def _started(self) -> InProcess:
        """Return the invoker, started; nothing waits between looking and starting."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            await self._stop()
        if self._invoker is None:
            function = self._serving.function
            code = HandlerCode(function.handler, function.code)
            invoker = in_process.in_process(self._serving, code)
            in_process.check_loaded(invoker, self._serving, self._sink)
            self._invoker = await self._stack.enter_async_context(invoker)
            self._loop = loop
        return self._invoker

    async def _stop(self) -> None:
        self._fronts.clear()
        self._invoker = None
        await self._stack.aclose()

    async def _front(self, scope: Scope) -> AsgiFront:
        """Return the front of the listener that a scope came through, by scheme and port."""
        invoker = await self._started()
        scheme = plain_scheme(scope)
        _, port = scope.get("server") or ("", None)
        key = scheme, port or DEFAULT_PORTS[scheme]
        if key not in self._fronts:
            seen_as = listener.listener(self._serving, *key)
            front = listener.portable_front(
                self._serving, seen_as, invoker, self._sink, self._server_headers
            )
            self._fronts[key] = front
        return self._fronts[key]


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
        listener_from_url(as_url)
    serving = Serving(
        Function(handler, Path(code), timeout_seconds=timeout_seconds),
        attributes=reduce(with_attribute, attributes, Attributes()),
        listener_url=as_url,
        concurrency=concurrency,
    )
    return Application(serving, sink, server_headers)


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

"""The gateway as an ASGI application, for any ASGI server.

    from gateway.asgi import application
    app = application("app.handler", code="src")          # hypercorn main:app

or without a file of your own, from the environment (`GATEWAY_HANDLER`, `GATEWAY_CODE`,
`GATEWAY_ATTRIBUTES`, `GATEWAY_AS`):

    GATEWAY_HANDLER=app.handler granian --interface asgi gateway.asgi:app
"""

import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import reduce
from pathlib import Path
from typing import Any

from gateway import compose
from gateway.config.settings import Function, Serving
from gateway.core.attributes import Attributes, with_attribute
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Sink
from gateway.invokers.in_process import InProcess
from gateway.telemetry.fanout import Fanout
from gateway.web.asgi import AsgiFront, Message, Receive, Scope, Send


class Application:
    """An ASGI application that starts its workers on the lifespan, or at the first request
    without one."""

    def __init__(self, serving: Serving, sink: Sink) -> None:
        self._serving = serving
        self._sink = sink
        self._stack = AsyncExitStack()
        self._invoker: InProcess | None = None
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
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stack.aclose()
        stopped: Message = {"type": "lifespan.shutdown.complete"}
        await send(stopped)

    async def _started(self) -> InProcess:
        """Return the invoker, started; nothing waits between looking and starting."""
        if self._invoker is None:
            running = compose.running_function(self._serving, self._sink)
            self._invoker = await self._stack.enter_async_context(running)
        return self._invoker

    async def _front(self, scope: Scope) -> AsgiFront:
        """Return the front of the listener that a scope came through, by scheme and port."""
        host_and_port = scope.get("server") or ("127.0.0.1", 80)
        key = scope["scheme"].replace("ws", "http"), host_and_port[1] or 80
        if key not in self._fronts:
            seen_as = compose.listener(self._serving, *key)
            invoker = await self._started()
            front = compose.portable_front(self._serving, seen_as, invoker, self._sink)
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
) -> Application:
    """Return an ASGI application around a handler; `attributes` are AWS's `KEY=VALUE`s.

    Raises InvalidSetting. The process's environment variables and streams are left as they are.
    """
    serving = Serving(
        Function(handler, Path(code), timeout_seconds=timeout_seconds),
        attributes=reduce(with_attribute, attributes, Attributes()),
        listener_url=as_url,
        concurrency=concurrency,
    )
    return Application(serving, sink or Fanout([]))


def __getattr__(name: str) -> Any:
    """Make `app` from the environment when a server asks for it."""
    if name != "app":
        raise AttributeError(name)
    handler = os.environ.get("GATEWAY_HANDLER")
    if not handler:
        raise InvalidSetting("set GATEWAY_HANDLER to module.function to serve gateway.asgi:app")
    attributes = os.environ.get("GATEWAY_ATTRIBUTES", "").split()
    code, as_url = os.environ.get("GATEWAY_CODE", "."), os.environ.get("GATEWAY_AS", "")
    return application(handler, code=code, attributes=attributes, as_url=as_url)

"""The Runtime API of one execution environment (lambda.md 1.1, 1.2), on a loopback port of its own.

Connections read requests and ask a `Platform` what to do; how the environment lives is decided in
core/environment.py. A connection is one when its owner is known to be the environment
(`gateway.runtime.api_guard`).
"""

import asyncio
from collections import deque
from typing import Protocol, cast

from gateway.runtime.api_connection import ApiConnection
from gateway.runtime.api_guard import Guard, Stranger, Visitor
from gateway.runtime.api_routes import Platform
from gateway.runtime.ports import BACKLOG, RECENT_PORTS, free_port
from gateway.telemetry.system import turns_of_the_loop

CONNECTIONS = 16
"""What one environment may have open at once: the descriptors are the gateway's, and clients of the
Runtime API have one or two."""

STRANGERS = 8
"""Connections of others that may be open until they are answered; further ones are cut."""

LAST_WORDS_SECONDS = 0.1
"""How long the end of a process waits for the end of what it has sent."""

ACCEPT_TURNS = 5
"""Turns of the event loop until an accepted connection is made, aborted and lost."""


class Closable(Protocol):
    """A connection of any kind."""

    def close(self) -> None:
        """End it."""
        ...


class RuntimeApiServer:
    """The listening socket of one environment and its connections."""

    def __init__(self, platform: Platform, guard: Guard) -> None:
        self._platform = platform
        self._guard = guard
        self._connections: set[ApiConnection] = set()
        self._visitors: set[Visitor] = set()
        self._strangers: set[Stranger] = set()
        self._ready: deque[ApiConnection] = deque()
        self._holder: ApiConnection | None = None
        self._delivered: ApiConnection | None = None
        self._server: asyncio.Server | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.address = ""
        self.authority = b""

    async def start(self) -> None:
        """Listen, before the process starts: runtimes try for one second (lambda.md 1.1).

        Does nothing when it listens already. Raises OSError.
        """
        if self._server is not None:
            return
        self._loop = asyncio.get_running_loop()
        listening = free_port(self._loop.time())
        try:
            host, self._port = listening.getsockname()
            self._server = await self._loop.create_server(
                self._accept, sock=listening, backlog=BACKLOG
            )
        except BaseException:
            listening.close()
            raise
        self.address = f"{host}:{self._port}"
        self.authority = self.address.encode()

    def _accept(self) -> asyncio.Protocol:
        if not self._guard.is_on:
            return self._admitted()
        if len(self._visitors) >= CONNECTIONS:
            return Unwelcome()
        visitor = Visitor(self._guard, self._visitors.discard, self._admitted, self._turned_away)
        self._visitors.add(visitor)
        return visitor

    def _admitted(self) -> asyncio.Protocol:
        """Return what serves a connection of the environment."""
        if len(self._connections) >= CONNECTIONS:
            return Unwelcome()
        connection = ApiConnection(self._platform, self)
        self._connections.add(connection)
        return connection

    def _turned_away(self) -> asyncio.Protocol:
        """Return what serves a connection of anything else."""
        if len(self._strangers) >= STRANGERS:
            return Unwelcome()
        stranger = Stranger(self._strangers.discard)
        self._strangers.add(stranger)
        return stranger

    # What the connections share (Siblings).

    def forget(self, connection: ApiConnection, /) -> None:
        """Record that a connection has ended."""
        self._connections.discard(connection)
        if self._delivered is connection:
            self._delivered = None
        emptied = self._emptied
        if emptied is not None and not self._connections and not emptied.done():
            emptied.set_result(None)

    def may_hold(self, connection: ApiConnection, /) -> bool:
        """Give a connection the right to hold something large, if no other one has it."""
        if self._holder is None:
            self._holder = connection
        return self._holder is connection

    def let_go(self, connection: ApiConnection, /) -> None:
        """Take the right back, if the connection has it."""
        if self._holder is connection:
            self._holder = None

    def delivers(self, connection: ApiConnection, /) -> None:
        """End the connection with the last event if it has not taken it: of events, too, one at a
        time is held."""
        before, self._delivered = self._delivered, connection
        if before is not None and before is not connection and before.is_behind():
            before.close()

    def later(self, connection: ApiConnection, /) -> None:
        """Read on in a later turn of the event loop; in each turn one connection does."""
        self._ready.append(connection)
        if len(self._ready) == 1:
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        connection = self._ready.popleft()
        if self._ready:
            self._loop.call_soon(self._read_on)
        connection.read_on()

    # The end.

    def disconnect(self) -> None:
        """End the connections of a process that is gone."""
        all_kinds: list[Closable] = [*self._connections, *self._visitors, *self._strangers]
        for connection in all_kinds:
            connection.close()

    def close(self) -> None:
        """Stop listening and end every connection; does nothing when it never listened."""
        self.disconnect()
        self._guard.close()
        if self._server is not None:
            self._server.close()
            self._server = None
            RECENT_PORTS.add(self._port, self._loop.time())

    async def read_to_end(self) -> None:
        """Wait until everything is read that a process sent before its end; not for long, as a
        child of it may hold a connection open."""
        if self._connections:
            self._emptied = self._loop.create_future()
            await asyncio.wait([self._emptied], timeout=LAST_WORDS_SECONDS)

    async def emptied(self) -> None:
        """End connections of a process that is gone, also those that are only being accepted."""
        for _ in range(ACCEPT_TURNS):
            await turns_of_the_loop(1)
            self.disconnect()


class Unwelcome(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """End it."""
        cast("asyncio.Transport", transport).abort()

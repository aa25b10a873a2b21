"""The listener's own front: what all connections of a listener share, and their life.

Sans framework: a connection is a protocol of the event loop (h1_connection.py, h2_connection.py),
framing is wire/, what is allowed is core/ (desync.py, limits.py), and the answer is the
Responder's. Deadlines are fields that one sweep reads, not a timer per request (sweep.py).
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from gateway.core.desync import Mode
from gateway.core.http import http_date
from gateway.core.interfaces import Clock, Responder, Sink
from gateway.core.limits import (
    FIELDS_STEP,
    Limits,
    Progress,
    broken_size,
    has_too_many_fields,
)
from gateway.core.listener import ListenerAddress
from gateway.core.notices import OperatorWarning
from gateway.core.pages import Pages
from gateway.telemetry.system import turns_of_the_loop
from gateway.web.exchanges import Exchanges
from gateway.web.members import OpenConnections
from gateway.web.read_rate import ReadRate
from gateway.web.shared_room import SharedRoom
from gateway.web.sweep import Sweep

ACCEPT_TURNS = 3
"""Turns of the event loop after which connections accepted before are made: asyncio takes two."""

KEPT_EMPTY_LINES = b"\r\n"
"""What a connection keeps at most of the empty lines before a head."""

LAST_SECONDS = 1.0
"""How long a stop of the whole gateway still answers what comes on idle connections. `docker stop`
kills after 10 s, and clients that hear of the stop with an answer need one request for it."""

ABORT_SECONDS = 1.0
"""How long a stop waits for tasks that it has cancelled."""


class Front:
    """Owns the connections of a listener and has what they share; its life is from `start_sweep` to
    `stop`."""

    def __init__(  # noqa: PLR0913 - what every connection needs
        self,
        responder: Responder,
        *,
        listener: ListenerAddress,
        pages: Pages,
        sink: Sink | None,
        clock: Clock,
        draw: Callable[[int], str],
        limits: Limits,
        mode: Mode,
        at_once: int,
    ) -> None:
        """`at_once` is how many invocations HTTP/2 may run at once."""
        self.responder = responder
        self.limits = limits
        self.mode = mode
        self.draw = draw
        self.now = clock.now
        self.monotonic = clock.monotonic
        self.date = b""
        self._sink = sink
        exchanges = Exchanges(listener, pages=pages, sink=sink, clock=clock)
        self.page = exchanges.page
        self.refused = exchanges.refused
        self.defect = exchanges.defect
        self.failed = exchanges.failed
        self.cancelled = exchanges.cancelled
        self.unanswered = exchanges.unanswered
        self.note = exchanges.note
        self.note_handshake = exchanges.note_handshake
        self.read_rate = ReadRate(self.monotonic, self._call_later)
        self.shared_room = SharedRoom(at_once, self)
        self.members = OpenConnections(limits, clock.monotonic)
        self._connections = self.members.connections
        self.admit = self.members.admit
        self.calm = self.members.calm
        self.replace = self.members.replace
        self.linger = self.members.linger
        self.forget = self.members.forget
        self._sweep = Sweep(self._connections, clock.monotonic, self._begin_round)
        self._is_draining = False
        self._second = -1

    # Life.

    def start_sweep(self) -> None:
        """Begin to look at deadlines; needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._sweep.start(self._loop)

    def _begin_round(self) -> None:
        """Refresh the Date header, and do what else is due; called four times a second."""
        second = int(self.now())
        if second != self._second:
            self._second = second
            self.date = http_date(second)
            self._warn_of_limits()
            self.members.forget_floods()
        if self.members.is_ending:
            self._close_those_idle()

    async def drain(self) -> None:
        """Answer what comes with `Connection: close` until no connection is left, within the limit.

        Idle connections stay until their time-out, because a request may be on its way;
        `close_idle` ends them sooner.
        """
        self._is_draining = True
        await turns_of_the_loop(ACCEPT_TURNS)
        await self._wait_empty(self.limits.drain_seconds)
        self.abort()
        await self._wait_empty(ABORT_SECONDS)

    async def close_idle(self) -> None:
        """In a drain: close what has no request under way after a last second, or from then on,
        which may reset a request that comes then."""
        await self._wait_empty(LAST_SECONDS)
        self.members.is_ending = True
        self._close_those_idle()

    def _close_those_idle(self) -> None:
        for connection in list(self._connections):
            connection.close_if_idle()

    async def _wait_empty(self, seconds: float) -> None:
        """Wait until no connection is left, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._connections:
                    self.members.emptied.clear()
                    await self.members.emptied.wait()

    def abort(self) -> None:
        """End every connection at once."""
        for connection in list(self._connections):
            connection.abort()

    def stop(self) -> None:
        """End the sweep."""
        self._sweep.stop()
        self._warn_of_limits()

    def _warn_of_limits(self) -> None:
        """Say which limits have turned connections away in the last second."""
        line = self.members.line()
        if line and self._sink is not None:
            self._sink.emit(OperatorWarning(line))

    # What connections ask for.

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> object:
        return self._loop.call_later(seconds, callback)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a request's coroutine: the one place where a task is made (architecture, decision
        2)."""
        return self._loop.create_task(coroutine)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn of the event loop."""
        self._loop.call_soon(callback)

    def is_closing(self, progress: Progress) -> bool:
        """Say whether a connection ends after this response: stop, or age (alb.md 4.1)."""
        age = progress.active_at - progress.opened_at
        return self._is_draining or age >= self.limits.keep_alive_seconds

    def oversized(self, head: bytes) -> int:
        """Return the status for a head that breaks a size limit, or 0."""
        limits = self.limits
        size = len(head)
        if size > limits.line_bytes or size > limits.head_bytes:
            status = broken_size(head, size, limits, is_first=True)
            if status:
                return status
        return 400 if has_too_many_fields(head, limits) else 0

    def outgrown(self, begun: bytes | bytearray, seen: int) -> int:
        """Return the status for the beginning of a head that cannot end within the limits, or 0.

        Lines that ended in the bytes seen before are skipped: this runs for every byte of a
        trickle.
        """
        limits = self.limits
        is_step = len(begun) // FIELDS_STEP != seen // FIELDS_STEP
        if is_step and has_too_many_fields(begun, limits):
            return 400
        if len(begun) < limits.line_bytes and len(begun) < limits.head_bytes:
            return 0
        start = begun.rfind(b"\n", 0, seen) + 1
        return broken_size(
            begun[start:], len(begun) + 1, limits, is_first=start <= len(KEPT_EMPTY_LINES)
        )

"""Clients that take nothing of what was written to them: since when, and how they are cut off."""

import asyncio
import socket
import struct

from gateway.core.limits import Progress

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close that drops what the kernel still holds for the client."""


class Stall:
    """Keeps the time since when a client has taken nothing, in `progress.stalled_at`."""

    __slots__ = ("_progress", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, progress: Progress) -> None:
        self._transport = transport
        self._progress = progress
        self._waiting = -1
        transport.set_write_buffer_limits(0)  # one unsent byte is a client that may stall

    def begin(self, now: float) -> None:
        """Note that the client takes less than is written."""
        self._progress.stalled_at = now
        self._waiting = self._transport.get_write_buffer_size()

    def end(self, now: float) -> None:
        """Note that all was taken; only from now on does the client's silence count."""
        self._progress.stalled_at = None
        self._progress.active_at = now

    def look(self, now: float) -> None:
        """A client that took something since the last look is not stalled."""
        if self._progress.stalled_at is None:
            return
        waiting = self._transport.get_write_buffer_size()
        if waiting < self._waiting:
            self._progress.stalled_at = now
        self._waiting = waiting

    def abort(self) -> None:
        """Cut the client off; a regular close would leave the kernel trying to send to one that
        does not read."""
        if self._progress.stalled_at is not None:
            client = self._transport.get_extra_info("socket")
            if client is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()

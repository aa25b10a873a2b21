"""The connections that a front owns: counted in and out, up to the limits on their number.

A connection changes its protocol in its life (handshake, HTTP/1.1 or HTTP/2, lingering) and is
counted once at any time. What is turned away is said once a second, with the limit that did it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from gateway.core.crowd import Crowd, TurnedAway
from gateway.core.floods import Calmed
from gateway.core.limits import Limits


class Member(Protocol):
    """A connection in any stage of its life."""

    client: tuple[str, int]

    def check_deadlines(self, now: float, /) -> None:
        """Act on a broken deadline."""
        ...

    def close_if_idle(self) -> None:
        """Close a connection between requests."""
        ...

    def abort(self) -> None:
        """End the connection at once."""
        ...


class OpenConnections:
    """Counts connections, and those among them that linger."""

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self.connections: set[Member] = set()
        self.lingering: set[Member] = set()
        """Those that linger for the full time."""
        self.is_ending = False
        """The process ends: no connection lingers for the full time any more, or stays idle."""
        self.turned_away = TurnedAway()
        self.emptied = asyncio.Event()
        """Set whenever no connection is left."""
        self._values = {
            "connections": limits.connections,
            "connections_per_address": limits.connections_per_address,
            "calmed_connections": limits.calmed_connections,
        }
        self._all = Crowd(limits.connections, limits.connections_per_address)
        self._lingering = Crowd(limits.lingering, limits.lingering_per_address)
        self._calmed = Calmed(limits)
        self._monotonic = monotonic

    def admit(self, connection: Member) -> bool:
        """Count a connection in, or say that there is no room for it."""
        host = connection.client[0]
        if self._all.is_full():
            self.turned_away.add("connections", host)
            return False
        if self._all.is_full_for(host):
            self.turned_away.add("connections_per_address", host)
            return False
        if self._calmed.is_refused(host, self._monotonic()):
            self.turned_away.add("calmed_connections", host)
            return False
        self.connections.add(connection)
        self._all.enter(host)
        return True

    def calm(self, connection: Member) -> None:
        """Count a connection that ends with ENHANCE_YOUR_CALM against its address."""
        self._calmed.count(connection.client[0], self._monotonic())

    def replace(self, connection: Member, other: Member) -> None:
        """Count another protocol of the same connection in its place."""
        self.connections.discard(connection)
        self.connections.add(other)

    def linger(self, lingering: Member) -> bool:
        """Count a connection among those that linger, or say that there is no room for it."""
        host = lingering.client[0]
        if self.is_ending or self._lingering.is_full() or self._lingering.is_full_for(host):
            return False
        self.lingering.add(lingering)
        self._lingering.enter(host)
        return True

    def forget(self, connection: Member) -> None:
        """Count a connection out."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        host = connection.client[0]
        self._all.leave(host)
        if connection in self.lingering:
            self.lingering.discard(connection)
            self._lingering.leave(host)
        if not self.connections:
            self.emptied.set()

    def forget_floods(self) -> None:
        """Forget connections that ended with ENHANCE_YOUR_CALM too long ago to count."""
        self._calmed.forget(self._monotonic())

    @property
    def per_address(self) -> Counter[str]:
        """Return how many connections each address has."""
        return self._all.per_address

    def line(self) -> str:
        """Return what is to be said about connections turned away since the last time."""
        return self.turned_away.take_line(self._values)

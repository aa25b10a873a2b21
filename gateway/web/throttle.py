"""How fast all lingering connections together are read: what is dropped must cost others little.

A client that has been refused may send as fast as the network goes, and every read of it takes the
event loop away from requests. Above the rate a connection pauses until its turn: one at a time, in
order, so that none is forgotten. The client notices nothing but that its bytes take longer.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

BYTES_PER_SECOND = 64 * 1024 * 1024
"""Of all lingering connections of a process; 250 reads a second."""

READ_BYTES = 256 * 1024
"""What an event loop reads at once at most; so much of a burst is free."""

TURN_SECONDS = READ_BYTES / BYTES_PER_SECOND


class Readable(Protocol):
    """A connection whose reading can be put off."""

    def pause(self) -> None:
        """Read nothing more for a while."""
        ...

    def go_on(self) -> None:
        """Read again; the connection may be lost by now."""
        ...


class Throttle:
    """Has connections wait that were read while the rate was used up."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._monotonic = monotonic
        self._call_later = call_later
        self._used_until = 0.0
        self._waiting: deque[Readable] = deque()

    def spend(self, connection: Readable, size: int) -> None:
        """Count what was read of a connection, which has to wait if it was too much."""
        now = self._monotonic()
        self._used_until = max(self._used_until, now - TURN_SECONDS) + size / BYTES_PER_SECOND
        if self._used_until > now:
            connection.pause()
            self._waiting.append(connection)
            if len(self._waiting) == 1:
                self._call_later(TURN_SECONDS, self._give_turn)

    def _give_turn(self) -> None:
        """Let the connection go on that waits longest."""
        connection = self._waiting.popleft()
        if self._waiting:
            self._call_later(TURN_SECONDS, self._give_turn)
        connection.go_on()

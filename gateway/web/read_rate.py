"""How fast all lingering connections together are read: what is dropped must cost others little.

A client that has been refused may send as fast as the network goes, and every read of it takes the
event loop away from requests. Above the rate a connection pauses until its turn: one at a time, in
order, so that none is forgotten. The client notices nothing but that its bytes take longer.
"""

from collections.abc import Callable
from typing import Protocol

BYTES_PER_SECOND = 64 * 1024 * 1024
"""Of all lingering connections of a process; 250 reads a second."""

READ_BYTES = 256 * 1024
"""What an event loop reads at once at most; this much of a burst is free."""

TURN_SECONDS = READ_BYTES / BYTES_PER_SECOND


class Readable(Protocol):
    """A connection whose reading can be put off."""

    def pause(self) -> None:
        """Read nothing more for a while."""
        ...

    def go_on(self) -> None:
        """Read again."""
        ...


class ReadRate:
    """Has connections wait that were read while the rate was used up."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._monotonic = monotonic
        self._call_later = call_later
        self._used_until = 0.0
        self._waiting: dict[Readable, None] = {}
        self._is_due = False

    def spend(self, connection: Readable, size: int) -> None:
        """Count what was read of a connection, which has to wait if it was too much."""
        now = self._monotonic()
        self._used_until = max(self._used_until, now - TURN_SECONDS) + size / BYTES_PER_SECOND
        if self._used_until > now:
            connection.pause()
            self._waiting[connection] = None
            self._expect_turn()

    def forget(self, connection: Readable) -> None:
        """Give a connection that is lost no turn: it would be the turn of one that waits."""
        self._waiting.pop(connection, None)

    def _expect_turn(self) -> None:
        if self._waiting and not self._is_due:
            self._is_due = True
            self._call_later(TURN_SECONDS, self._give_turn)

    def _give_turn(self) -> None:
        """Let the connection go on that waits longest."""
        self._is_due = False
        connection = next(iter(self._waiting), None)
        if connection is not None:
            del self._waiting[connection]
            connection.go_on()
            self._expect_turn()

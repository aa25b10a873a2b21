"""What the HTTP/2 connections of a front share: room, and turns to run."""

from gateway.core.room import Room
from gateway.web.shared import Shared


class SharedRoom:
    """Lets streams go on in the order that the room decides on, once per turn of the event loop.

    A turn comes when all bytes that were read are parsed: a stream that is reset in the bytes that
    it came in costs no invocation, and connections that were read together share the turn.
    """

    def __init__(self, at_once: int, front: Shared) -> None:
        """Take how many invocations may run at once."""
        self.room = Room(at_once)
        self._front = front
        self._is_due = False

    def wake(self) -> None:
        """Have those that wait take their turns soon."""
        if not self._is_due and self.room.is_waited_for:
            self._is_due = True
            self._front.soon(self._take_turns)

    def _take_turns(self) -> None:
        self._is_due = False
        room = self.room
        while (claim := room.next_upload()) is not None:
            claim.take_go_on()()
        now = self._front.monotonic()
        while (claim := room.next_run(now)) is not None:
            claim.take_go_on()()

    def close_largest(self) -> None:
        """Close connections until no more is held than may be."""
        while (share := self.room.largest_holder()) is not None:
            self.room.shares.discard(share)
            share.evict()

"""What the connections of a front share: room for what they hold, and HTTP/2's turns to run."""

from collections.abc import Callable
from typing import Protocol

from gateway.core.limits import Limits
from gateway.core.room import Room
from gateway.core.turns import Claim

NO_ROOM = "the body has waited too long for room in memory"


class RoomFront(Protocol):
    """What the room needs of the front."""

    limits: Limits

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def soon(self, callback: Callable[[], None], /) -> None:
        """Call back in the next turn of the event loop."""
        ...


class SharedRoom:
    """Lets requests go on in the order that the room decides on, once per turn of the event loop.

    A turn comes when all bytes that were read are parsed: a stream that is reset in the bytes that
    it came in costs no invocation, and connections that were read together share the turn.
    """

    def __init__(self, at_once: int, front: RoomFront) -> None:
        """Take how many invocations HTTP/2 may run at once."""
        self.room = Room(at_once, front.limits.room_bytes)
        self._front = front
        self._is_due = False

    def wake(self) -> None:
        """Have those that wait take their turns soon."""
        if not self._is_due and self.room.is_waited_for:
            self._is_due = True
            self._front.soon(self._take_turns)

    def _take_turns(self) -> None:
        self._is_due = False
        self._give_uploads()
        room, now = self.room, self._front.monotonic()
        while (claim := room.next_run(now)) is not None:
            claim.take_go_on()()

    def _give_uploads(self) -> None:
        """Give room to the bodies whose turn it is."""
        while (claim := self.room.next_upload()) is not None:
            claim.take_go_on()()

    def ask_upload(self, claim: Claim, go_on: Callable[[], None], size: int) -> None:
        """Have a body wait for room, which it may get at once."""
        room = self.room
        room.ask_upload(claim, go_on, size, self._front.monotonic())
        while (share := room.in_the_way_of(claim)) is not None:
            room.leave(share)
            share.evict()
        self._give_uploads()

    def close_largest(self) -> None:
        """Close connections until no more is held than may be."""
        while (share := self.room.largest_holder()) is not None:
            self.room.leave(share)
            share.evict()

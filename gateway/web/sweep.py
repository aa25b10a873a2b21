"""The sweep over the deadlines of all connections: fields that are read four times a second, not a
timer per request."""

import asyncio
from collections.abc import Callable, Collection

from gateway.core.limits import SWEEP_SECONDS
from gateway.web.members import Member

SLICE_SECONDS = 0.001
"""How long a sweep may hold up clients: to look at 5,000 connections takes 5 ms, and to
answer 4,500 that are late together takes 90."""

SWEEP_STEPS = 25
STEP_CONNECTIONS = 50
"""A round takes one step for every 50 connections, at most SWEEP_STEPS."""


class Sweep:
    """Checks the deadlines of the connections that a front owns, round after round."""

    def __init__(
        self,
        connections: Collection[Member],
        monotonic: Callable[[], float],
        begin_round: Callable[[], None],
    ) -> None:
        """`begin_round` is called before each round."""
        self._connections = connections
        self._monotonic = monotonic
        self._begin_round = begin_round
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.Handle
        self._unchecked: list[Member] = []
        self._steps = self._later = 0
        self._period = SWEEP_SECONDS

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with the first round."""
        self._loop = loop
        self._begin()

    def stop(self) -> None:
        """End the sweep."""
        self._timer.cancel()

    def _begin(self) -> None:
        """Begin a round, in steps when there are many connections."""
        self._begin_round()
        self._unchecked = list(self._connections)
        self._steps = 1 + min(len(self._unchecked) // STEP_CONNECTIONS, SWEEP_STEPS - 1)
        self._period = SWEEP_SECONDS / self._steps
        self._step()

    def _step(self) -> None:
        """Begin with the next share of a round: what is late is cut all through it, not at once."""
        self._steps -= 1
        self._later = len(self._unchecked) * self._steps // (self._steps + 1)
        self._check_some()

    def _check_some(self) -> None:
        """Look at deadlines for a while, then give clients a turn; a defect does not end the
        sweep."""
        now = self._monotonic()
        try:
            while len(self._unchecked) > self._later and self._monotonic() - now < SLICE_SECONDS:
                self._unchecked.pop().check_deadlines(now)
        finally:
            if len(self._unchecked) > self._later:
                self._timer = self._loop.call_soon(self._check_some)
            else:
                following = self._step if self._steps else self._begin
                self._timer = self._loop.call_later(self._period, following)

"""How many invocations run at once, and which one is next (lambda.md 7).

Strategy: leases are counted, not kept. One that is given back goes to the caller that has waited
longest. As long as one waits, all leases are taken, so a newcomer never overtakes.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Self

from gateway.core.errors import Throttled


class Lease:
    """The right to run one invocation; a context manager that gives itself back."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None]) -> None:
        """Take what counts the lease as given back."""
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """Give the lease back; calls after the first one change nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()


Done = Callable[[Lease | Throttled], None]
"""Takes a lease or a refusal; called once, and must not raise."""


class Concurrency:
    """The leases of one limit, and the callers that wait for one."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        """Leases that are held."""
        self._waiting: OrderedDict[Done, None] = OrderedDict()
        """In order of arrival."""
        self._is_granting = False
        self._give_back = self._given_back  # bound once, not for each lease

    @property
    def waiting(self) -> int:
        """Return how many callers wait."""
        return len(self._waiting)

    def take(self) -> Lease | None:
        """Return a lease; None when all are taken."""
        if self.running >= self.limit or self._waiting:
            return None
        self.running += 1
        return Lease(self._give_back)

    def hold(self) -> Lease:
        """Return a lease whatever the limit, for a run that outlasts the lease it began with."""
        self.running += 1
        return Lease(self._give_back)

    def wait(self, done: Done) -> None:
        """Queue a caller until a lease is given back."""
        self._waiting[done] = None

    def leave(self, done: Done) -> None:
        """Remove a caller from the queue."""
        self._waiting.pop(done, None)

    def end(self, refusal: Callable[[], Throttled]) -> None:
        """Refuse the callers that wait; no lease is free from now on."""
        self.limit = 0
        while self._waiting:
            done, _ = self._waiting.popitem(last=False)
            done(refusal())

    def _given_back(self) -> None:
        self.running -= 1
        if self._waiting and not self._is_granting:
            self._grant()

    def _grant(self) -> None:
        """Grant what is free, in a loop: a caller that gives its lease back at once does not grant
        the next one from within, which for a thousand callers would be as many nested calls."""
        self._is_granting = True
        try:
            while self._waiting and self.running < self.limit:
                done, _ = self._waiting.popitem(last=False)
                done(self.hold())
        finally:
            self._is_granting = False

"""How soon an address may begin another TLS handshake after some of its handshakes have failed.

A handshake costs the server a signature and a key exchange, about 1 ms, before the client has shown
anything; a client that fails costs nothing but its own time. So an address pays for failures: more
than a burst of a few, and its further handshakes begin one after the other. Connections that are
open, and addresses whose handshakes succeed, never wait.
"""

FAILURES_PER_SECOND = 10.0
"""Failed handshakes of one address that cost it nothing. Ours; ALB publishes no such limit."""

FAILURE_BURST = 20
"""How many may fail in a burst before the next handshake waits. Ours."""

LEAST_SECONDS = 0.001
"""A shorter wait is left out."""

ADDRESS_LIMIT = 10_000
"""Addresses that are kept; those that owe nothing any more are removed first."""


class HandshakePace:
    """Counts failed handshakes by address; a token bucket per address, seconds as input."""

    def __init__(self) -> None:
        self._paid_at: dict[str, float] = {}
        """When an address has paid for all its failures."""

    def failed(self, address: str, now: float) -> None:
        """Count a handshake that began and came to nothing."""
        if len(self._paid_at) >= ADDRESS_LIMIT and address not in self._paid_at:
            self._forget(now)
        self._paid_at[address] = max(self._paid_at.get(address, now), now) + 1 / FAILURES_PER_SECOND

    def delay(self, address: str, now: float) -> float:
        """Return how long the next handshake has to wait, in seconds; a wait is a turn of its own
        and counts as a failure."""
        paid_at = self._paid_at.get(address)
        if paid_at is None:
            return 0.0
        if paid_at <= now:
            del self._paid_at[address]
            return 0.0
        seconds = paid_at - FAILURE_BURST / FAILURES_PER_SECOND - now
        if seconds < LEAST_SECONDS:
            return 0.0
        self.failed(address, now)
        return seconds

    def _forget(self, now: float) -> None:
        """Remove the addresses that owe nothing, all if none does."""
        self._paid_at = {key: at for key, at in self._paid_at.items() if at > now}
        if len(self._paid_at) >= ADDRESS_LIMIT:
            self._paid_at.clear()

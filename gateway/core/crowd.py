"""How many of something there are, in all and for each client address."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Crowd:
    """Counts members in and out, up to two limits."""

    most: int
    most_per_address: int
    count: int = 0
    per_address: Counter[str] = field(default_factory=Counter)

    def is_full(self) -> bool:
        """Say whether there is room for no member more."""
        return self.count >= self.most

    def is_full_for(self, address: str) -> bool:
        """Say whether there is room for no member more of this address."""
        return self.per_address[address] >= self.most_per_address

    def enter(self, address: str) -> None:
        """Count a member in."""
        self.count += 1
        self.per_address[address] += 1

    def leave(self, address: str) -> None:
        """Count a member out."""
        self.count -= 1
        self.per_address[address] -= 1
        if not self.per_address[address]:
            del self.per_address[address]


@dataclass(slots=True)
class TurnedAway:
    """Connections that were closed unanswered because a limit was reached."""

    total: Counter[str] = field(default_factory=Counter)
    """By the name of the limit, since the start: the metric RejectedConnectionCount (alb.md
    4.13)."""
    _recent: Counter[str] = field(default_factory=Counter)
    _addresses: dict[str, set[str]] = field(default_factory=dict)

    def add(self, limit: str, address: str) -> None:
        """Count one; of the addresses two are kept, which is enough to say whether it was one."""
        self.total[limit] += 1
        self._recent[limit] += 1
        addresses = self._addresses.setdefault(limit, set())
        if len(addresses) < 2:
            addresses.add(address)

    def take_line(self, values: dict[str, int]) -> str:
        """Return one line about those since the last line; empty if none came."""
        if not self._recent:
            return ""
        parts = [
            f"{count} over {limit}={values[limit]} ({self._origin(limit)})"
            for limit, count in sorted(self._recent.items())
        ]
        self._recent.clear()
        self._addresses.clear()
        return f"connections closed unanswered: {', '.join(parts)}"

    def _origin(self, limit: str) -> str:
        first, *others = sorted(self._addresses[limit])
        return f"from {first} and others" if others else f"from {first}"

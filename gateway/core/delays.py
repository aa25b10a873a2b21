"""How long to wait before something that keeps failing is started again."""

LONGEST_DELAY_SECONDS = 30.0


def delay_seconds(failures: int) -> float:
    """Return the seconds to wait after this many failures in a row: 0 after the first one, then 1,
    2, 4 ..."""
    return 0.0 if failures < 2 else min(2.0 ** (failures - 2), LONGEST_DELAY_SECONDS)


class Pauses:
    """Says when a start may follow failed ones: after 1, 2, 4 ... seconds of a clock."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    def fail(self, now: float) -> None:
        """Count a failure; of those that come during a pause, and so from one round of starts, the
        first one counts."""
        if self.allow(now):
            self._failures += 1
            self._until = now + delay_seconds(self._failures + 1)

    def succeed(self) -> None:
        """Forget the failures."""
        self._failures = 0
        self._until = 0.0

    def allow(self, now: float) -> bool:
        """Say whether a start may be tried."""
        return now >= self._until

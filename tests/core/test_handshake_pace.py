"""Addresses whose handshakes fail wait for the next; the others never do."""

import pytest

from gateway.core import handshake_pace
from gateway.core.handshake_pace import FAILURE_BURST, FAILURES_PER_SECOND, HandshakePace


def failing(pace: HandshakePace, address: str, count: int, now: float = 0.0) -> None:
    for _ in range(count):
        assert pace.delay(address, now) == 0
        pace.failed(address, now)


def test_a_few_failures_cost_nothing() -> None:
    pace = HandshakePace()
    failing(pace, "a", FAILURE_BURST)

    assert pace.delay("a", 0.0) == 0


def test_further_handshakes_begin_one_after_the_other() -> None:
    pace = HandshakePace()
    failing(pace, "a", FAILURE_BURST + 1)

    turns = [pace.delay("a", 0.0) for _ in range(3)]

    assert turns == pytest.approx([n / FAILURES_PER_SECOND for n in (1, 2, 3)])
    assert pace.delay("b", 0.0) == 0


def test_failures_are_forgotten_with_time() -> None:
    pace = HandshakePace()
    failing(pace, "a", FAILURE_BURST + 1)

    assert pace.delay("a", 0.2) == 0
    assert pace.delay("a", 100.0) == 0
    assert pace._paid_at == {}


def test_number_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake_pace, "ADDRESS_LIMIT", 3)
    pace = HandshakePace()
    for name in "abc":
        pace.failed(name, 0.0)

    pace.failed("d", 10.0)  # the others owe nothing by now
    assert set(pace._paid_at) == {"d"}
    for name in "efgh":
        pace.failed(name, 10.0)
    assert len(pace._paid_at) <= 3

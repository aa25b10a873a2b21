"""What a pool knows of its environments; how it uses that is in test_pool.py."""

import pytest

from gateway.core.invocation import InvocationResult
from gateway.runtime.slots import InitFailed, Readiness, Resting, Slot, Undelivered


def slot(number: int = 0) -> Slot:
    return Slot(generation=0, made_at=float(number), idle_since=0.0)


@pytest.mark.parametrize(
    ("error_type", "is_lasting"),
    [
        ("Runtime.ImportModuleError", True),
        ("Runtime.HandlerNotFound", True),
        ("Runtime.UserCodeSyntaxError", True),
        ("Runtime.MalformedHandlerName", True),
        ("Runtime.InvalidEntrypoint", True),
        ("Runtime.ExitError", False),
        ("Runtime.Unknown", False),
        ("", False),
    ],
)
def test_failure_lasts_where_something_is_not_there(error_type: str, *, is_lasting: bool) -> None:
    assert InitFailed("why", error_type).is_lasting is is_lasting


def test_next_one_is_ready_else_warming_else_cold() -> None:
    resting, slots = Resting(), [slot(number) for number in range(5)]
    resting.add(slots[0], Readiness.COLD)
    resting.add(slots[1], Readiness.READY)
    resting.add(slots[2], Readiness.READY)
    resting.warming.append(slots[3])
    resting.add(slots[4], Readiness.LOST)

    assert resting.useless() == 2
    assert [resting.pop() for _ in range(5)] == [slots[2], slots[1], slots[3], slots[0], None]
    assert [*resting] == [slots[4]]


def test_one_is_taken_out_of_wherever_it_is() -> None:
    resting = Resting()
    kinds = [Readiness.READY, Readiness.COLD, Readiness.LOST]
    slots = [slot(number) for number in range(3)]
    for kind, each in zip(kinds, slots, strict=True):
        resting.add(each, kind)

    assert [resting.remove(each) for each in slots] == [True] * 3
    assert [resting.remove(each) for each in slots] == [False] * 3
    assert resting.pop_cold() is None


@pytest.mark.parametrize(("now", "is_due"), [(9.0, False), (10.0, True)])
def test_idle_time_is_what_makes_one_due(now: float, *, is_due: bool) -> None:
    assert slot().is_due(now, idle_seconds=10.0) is is_due


def test_undelivered_invocation_has_what_its_caller_gets() -> None:
    result = InvocationResult(b"{}")

    assert Undelivered(result).result is result

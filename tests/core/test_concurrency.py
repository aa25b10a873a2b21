from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.concurrency import Concurrency, Done, Lease
from gateway.core.errors import Throttled

CROWD = 3000
"""Callers; more than there may be nested calls."""


class Callers:
    """A limit, and what each of its callers got."""

    def __init__(self, limit: int) -> None:
        self.concurrency = Concurrency(limit)
        self.got: dict[int, Lease | Throttled] = {}
        self.waiting: dict[int, Done] = {}
        self.order: list[int] = []

    def come(self, number: int) -> None:
        """Take a lease, or wait."""
        done = self.done(number)
        if lease := self.concurrency.take():
            done(lease)
        else:
            self.waiting[number] = done
            self.concurrency.wait(done)

    def done(self, number: int) -> Done:
        def done(outcome: Lease | Throttled) -> None:
            assert number not in self.got
            self.waiting.pop(number, None)
            self.got[number] = outcome
            self.order.append(number)

        return done

    def release(self, number: int) -> None:
        lease = self.got[number]
        assert isinstance(lease, Lease)
        lease.release()


def test_no_more_leases_than_the_limit() -> None:
    concurrency = Concurrency(2)

    assert [concurrency.take() is None for _ in range(3)] == [False, False, True]
    assert concurrency.running == 2


def test_lease_is_given_back_once() -> None:
    concurrency = Concurrency(2)
    first, second = concurrency.take(), concurrency.take()
    assert first
    assert second
    first.release()
    first.release()

    assert concurrency.running == 1


def test_lease_that_is_given_back_goes_to_the_longest_waiter() -> None:
    callers = Callers(1)
    for number in range(3):
        callers.come(number)
    callers.release(0)
    callers.release(1)

    assert callers.order == [0, 1, 2]
    assert callers.concurrency.running == 1


def test_caller_that_left_is_passed_over() -> None:
    callers = Callers(1)
    for number in range(3):
        callers.come(number)
    callers.concurrency.leave(callers.waiting[1])
    callers.release(0)

    assert callers.order == [0, 2]
    assert callers.concurrency.waiting == 0


def test_leaving_twice_or_with_a_lease_changes_nothing() -> None:
    callers = Callers(1)
    callers.come(0)
    callers.concurrency.leave(callers.done(0))

    assert callers.concurrency.running == 1


def test_held_lease_is_over_the_limit_and_is_to_be_given_back_first() -> None:
    callers = Callers(1)
    callers.come(0)
    callers.come(1)
    held = callers.concurrency.hold()
    callers.release(0)
    before = [*callers.order]
    held.release()

    assert before == [0]
    assert callers.order == [0, 1]


def test_end_refuses_those_that_wait_and_leaves_nothing_to_take() -> None:
    callers = Callers(1)
    callers.come(0)
    callers.come(1)
    callers.concurrency.end(lambda: Throttled("over"))
    callers.release(0)

    assert str(callers.got[1]) == "over"
    assert callers.concurrency.take() is None
    assert callers.concurrency.running == 0


def test_crowd_that_gives_back_at_once_is_served_in_order_and_not_nested() -> None:
    concurrency = Concurrency(1)
    first = concurrency.take()
    served: list[int] = []

    def caller(number: int) -> Done:
        def done(outcome: Lease | Throttled) -> None:
            served.append(number)
            assert isinstance(outcome, Lease)
            outcome.release()

        return done

    for number in range(CROWD):
        concurrency.wait(caller(number))
    assert first
    first.release()

    assert served == [*range(CROWD)]
    assert concurrency.running == 0


def test_newcomer_does_not_overtake_while_leases_are_granted() -> None:
    callers = Callers(1)
    callers.come(0)
    callers.concurrency.wait(lambda _lease: came.append(callers.concurrency.take()))
    callers.come(2)
    came: list[Lease | None] = []
    callers.concurrency.limit = 2
    callers.release(0)

    assert came == [None]
    assert callers.order == [0, 2]


def test_callback_that_raises_does_not_stop_later_grants() -> None:
    concurrency = Concurrency(1)
    lease = concurrency.take()
    assert lease

    def fail(_outcome: Lease | Throttled) -> None:
        raise ValueError("a bug")

    concurrency.wait(fail)
    with pytest.raises(ValueError, match="a bug"):
        lease.release()
    got: list[Lease | Throttled] = []
    concurrency.wait(got.append)
    concurrency.limit = 2
    concurrency.hold().release()

    assert len(got) == 1


STEPS: dict[str, Callable[[Callers, int], None]] = {
    "come": lambda callers, number: callers.come(number),
    "release": lambda callers, _: callers.release(callers.order[0]) if callers.order else None,
    "release the newest": lambda callers, _: (
        callers.release(callers.order[-1]) if callers.order else None
    ),
    "leave": lambda callers, number: (
        callers.concurrency.leave(callers.waiting.pop(min(callers.waiting)))
        if callers.waiting
        else None
    ),
}


@given(st.integers(0, 3), st.lists(st.sampled_from([*STEPS, "come"]), max_size=40))
def test_leases_never_exceed_the_limit_and_none_is_free_while_one_waits(
    limit: int, steps: list[str]
) -> None:
    callers = Callers(limit)
    for number, step in enumerate(steps):
        STEPS[step](callers, number)

        concurrency = callers.concurrency
        assert 0 <= concurrency.running <= limit
        assert not concurrency.waiting or concurrency.running == limit
        assert concurrency.waiting == len(callers.waiting)
        assert callers.order == sorted(callers.order)

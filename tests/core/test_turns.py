"""Which claim is next: addresses take turns, then connections, then their claims."""

import pytest

from gateway.core.turns import Claim, Share, Turns, do_nothing


def waiting(turns: Turns, share: Share) -> Claim:
    claim = Claim(share)
    turns.add(claim)
    return claim


def share(address: str) -> Share:
    return Share(address, do_nothing)


def take_all(turns: Turns) -> list[Claim]:
    found = []
    while (claim := turns.take(lambda _: True)) is not None:
        found.append(claim)
    return found


def test_turns_go_round_the_addresses_then_the_connections() -> None:
    turns = Turns(is_strict=True)
    one, two, other = share("a"), share("a"), share("b")
    first = [waiting(turns, one) for _ in range(3)]
    second = [waiting(turns, two) for _ in range(2)]
    third = [waiting(turns, other) for _ in range(2)]

    assert take_all(turns) == [
        *(first[0], third[0], second[0], third[1]),
        *(first[1], second[1], first[2]),
    ]
    assert not turns


@pytest.mark.parametrize("active", [0, 1])
@pytest.mark.parametrize("is_strict", [True, False])
def test_claim_holds_up_its_address_where_turns_are_strict_and_its_connection_has_nothing(
    active: int, *, is_strict: bool
) -> None:
    turns = Turns(is_strict=is_strict)
    one, two = share("a"), share("a")
    one.active = active
    first, second = waiting(turns, one), waiting(turns, two)
    asked = []

    def may(claim: Claim) -> bool:
        asked.append(claim)
        return claim is second

    assert turns.take(may) is (None if is_strict and not active else second)
    assert asked == [first] if is_strict and not active else [first, second]


def test_claim_that_left_leaves_the_others_their_turns() -> None:
    turns = Turns(is_strict=True)
    one, other = share("a"), share("b")
    first, second, third = waiting(turns, one), waiting(turns, one), waiting(turns, other)

    turns.remove(first)
    assert (first.queue, one.waiting) == (None, 1)
    assert take_all(turns) == [second, third]

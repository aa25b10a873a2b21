"""How many there are, and what is said of those turned away."""

from gateway.core.crowd import Crowd, TurnedAway


def test_crowd_is_full_in_all_and_for_each_address() -> None:
    crowd = Crowd(most=3, most_per_address=2)
    for address in ("a", "b", "b"):
        assert not crowd.is_full()
        assert not crowd.is_full_for(address)
        crowd.enter(address)

    assert crowd.is_full()
    assert [crowd.is_full_for(address) for address in ("a", "b", "c")] == [False, True, False]


def test_crowd_forgets_addresses_that_left() -> None:
    crowd = Crowd(most=2, most_per_address=1)
    for _ in range(3):
        crowd.enter("a")
        crowd.leave("a")

    assert (crowd.count, dict(crowd.per_address)) == (0, {})
    assert not crowd.is_full_for("a")


def test_crowd_knows_an_address_as_long_as_one_of_its_members_is_there() -> None:
    crowd = Crowd(most=3, most_per_address=1)
    crowd.enter("a")
    crowd.enter("a")
    crowd.leave("a")

    assert (crowd.count, dict(crowd.per_address)) == (1, {"a": 1})
    assert crowd.is_full_for("a")


def test_looking_at_an_address_does_not_remember_it() -> None:
    crowd = Crowd(most=1, most_per_address=1)
    crowd.is_full_for("a")

    assert crowd.per_address == {}


VALUES = {"connections": 5, "connections_per_address": 2}


def test_line_names_each_limit_once_and_is_said_once() -> None:
    turned = TurnedAway()
    for address in ("b", "a", "c"):
        turned.add("connections", address)
    turned.add("connections_per_address", "a")
    turned.add("connections_per_address", "a")

    assert turned.take_line(VALUES) == (
        "connections closed unanswered: 3 over connections=5 (from a and others), "
        "2 over connections_per_address=2 (from a)"
    )
    assert turned.take_line(VALUES) == ""
    assert turned.total == {"connections": 3, "connections_per_address": 2}
    turned.add("connections", "d")
    assert turned.take_line(VALUES) == (
        "connections closed unanswered: 1 over connections=5 (from d)"
    )


def test_of_many_addresses_few_are_kept() -> None:
    turned = TurnedAway()
    for number in range(1000):
        turned.add("connections", str(number))

    assert len(turned._addresses["connections"]) == 2

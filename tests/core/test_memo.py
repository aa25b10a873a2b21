"""Values are remembered for short keys only, and never more than a bounded number of them."""

from gateway.core.memo import ENTRIES_LIMIT, KEY_LIMIT, Memo


def test_function_is_asked_once_for_a_short_key() -> None:
    asked: list[bytes] = []
    lengths = Memo(lambda key: asked.append(key) or len(key))

    assert [lengths[b"abc"], lengths[b"abc"]] == [3, 3]
    assert asked == [b"abc"]


def test_key_over_the_limit_is_worked_out_each_time() -> None:
    upper = Memo(str.upper)

    for size in (KEY_LIMIT - 1, KEY_LIMIT, KEY_LIMIT + 1):
        assert upper["a" * size] == "A" * size

    assert sorted(map(len, upper)) == [KEY_LIMIT - 1, KEY_LIMIT]


def test_number_of_keys_is_bounded() -> None:
    doubled = Memo(lambda key: key + key)

    sizes = []
    for number in range(2 * ENTRIES_LIMIT + 1):
        assert doubled[b"%d" % number] == 2 * (b"%d" % number)
        sizes.append(len(doubled))

    assert max(sizes) == ENTRIES_LIMIT
    assert sizes[-1] == 1

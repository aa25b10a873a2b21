"""Path patterns: what they match, what AWS refuses, and the path that they are compared with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidSetting
from gateway.core.rules import PathPattern, check_priority, normalised


@pytest.mark.parametrize(
    ("patterns", "path", "matches"),
    [
        (("/img/*",), b"/img/a/b.png", True),
        (("/img/*",), b"/img/", True),
        (("/img/*",), b"/img", False),
        (("/img/*",), b"/IMG/a", False),
        (("/img/?.png",), b"/img/a.png", True),
        (("/img/?.png",), b"/img/ab.png", False),
        (("/img/?.png",), b"/img/.png", False),
        (("/a.b",), b"/aXb", False),
        (("/a", "/b"), b"/b", True),
        (("/a", "/b"), b"/ab", False),
        (("/application/*",), b"/application//api", True),
        (("/application/*",), b"//application", False),
        (("//application",), b"//application", True),
        (("/k%C3%A4se",), b"/k%C3%A4se", True),
        (("*",), b"/a\nb", True),
    ],
)
def test_pattern_matches_the_whole_path(
    patterns: tuple[str, ...], path: bytes, *, matches: bool
) -> None:
    assert bool(PathPattern(patterns).compiled().fullmatch(path)) == matches


def does_match(pattern: str, path: str) -> bool:
    """Say it in the plainest way."""
    if not pattern:
        return not path
    if pattern[0] == "*":
        return any(does_match(pattern[1:], path[count:]) for count in range(len(path) + 1))
    return bool(path) and pattern[0] in {"?", path[0]} and does_match(pattern[1:], path[1:])


@given(st.text("ab.*?", max_size=8), st.text("ab.", max_size=12))
def test_pattern_matches_as_a_plain_evaluator_says(pattern: str, path: str) -> None:
    matched = PathPattern((pattern,)).compiled().fullmatch(path.encode())

    assert bool(matched) == does_match(pattern, path)


def test_path_that_almost_matches_several_wildcards_costs_no_power_of_its_length() -> None:
    """It would take years."""
    assert not PathPattern(("*a*a*a*a*a*b",)).compiled().fullmatch(b"/" + 16_000 * b"a")


@pytest.mark.parametrize(
    ("values", "is_valid"), [(("/*/*/*", "/???"), True), (("/*/*/*", "/????"), False)]
)
def test_rule_has_up_to_six_wildcards(values: tuple[str, ...], *, is_valid: bool) -> None:
    condition = PathPattern(values)
    if is_valid:
        condition.check()
    else:
        with pytest.raises(InvalidSetting, match="a rule has up to 6 wildcards"):
            condition.check()


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        (b"/a/b", b"/a/b"),
        (b"/%61/%7E%2d%2E%5f%41%7a%39", b"/a/~-._Az9"),
        (b"/a%2Fb%20%40", b"/a%2Fb%20%40"),
        (b"//a//b", b"//a//b"),
        (b"/a/./b/../c", b"/a/c"),
        (b"/a/b/..", b"/a/"),
        (b"/a/.", b"/a/"),
        (b"/../a", b"/a"),
        (b"/%2e%2e/a", b"/a"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/a/...", b"/a/..."),
        (b"*", b"*"),
        (b"", b""),
    ],
)
def test_conditions_see_the_normalised_path(path: bytes, seen: bytes) -> None:
    assert normalised(path) == seen


@pytest.mark.parametrize("value", ["/a", 128 * "a", "/a-b_c.d$~\"'@:+&*?"])
def test_value_that_aws_takes_is_taken(value: str) -> None:
    PathPattern((value,)).check()


@pytest.mark.parametrize("value", ["", 129 * "a", "/ä", "/a b", "/a#b"])
def test_value_that_aws_refuses_is_refused(value: str) -> None:
    with pytest.raises(InvalidSetting, match="is not valid"):
        PathPattern((value,)).check()


@pytest.mark.parametrize(("count", "is_valid"), [(0, False), (1, True), (5, True), (6, False)])
def test_rule_has_one_to_five_values(count: int, *, is_valid: bool) -> None:
    condition = PathPattern(count * ("/a",))
    if is_valid:
        condition.check()
    else:
        with pytest.raises(InvalidSetting, match="a rule has 1 to 5 path patterns"):
            condition.check()


@pytest.mark.parametrize("priority", [1, 50_000])
def test_priority_that_aws_takes_is_taken(priority: int) -> None:
    check_priority(priority)


@pytest.mark.parametrize("priority", [0, 50_001])
def test_priority_that_aws_refuses_is_refused(priority: int) -> None:
    with pytest.raises(InvalidSetting, match="is not between 1 and 50000"):
        check_priority(priority)

"""The table of rules, and the values that they look at. What heads break: test_desync.py."""

import pytest

from gateway.core import desync_rules
from gateway.core.desync_rules import LENGTH_END, DesyncRule, Tier, is_host, number

RULES = [rule for rule in vars(desync_rules).values() if isinstance(rule, DesyncRule)]

REASONS = {  # alb.md 4.9
    Tier.COMPLIANT: {""},
    Tier.ACCEPTABLE: {
        "NonCompliantHeader",
        "SpaceInUri",
        "NonCompliantVersion",
        "GetHeadZeroContentLength",
        "NonCrLfLineTermination",
    },
    Tier.AMBIGUOUS: {
        "EmptyHeader",
        "AmbiguousUri",
        "UndefinedContentLengthSemantics",
        "UndefinedTransferEncodingSemantics",
        "DuplicateContentLength",
        "BothTeClPresent",
        "SuspiciousHeader",
        "MultilineHeader",
        "PartialHeaderLine",
        "MissingLastEmptyLine",
        "MissingHeaderColon",
        "MissingUri",
    },
    Tier.SEVERE: {  # and SuspiciousTeClPresent, whose cases AWS's own classifier calls otherwise
        "BadHeader",
        "BadUri",
        "BadVersion",
        "BadMethod",
        "MultipleContentLength",
        "BadContentLength",
        "MultipleTransferEncodingChunked",
        "BadTransferEncoding",
    },
}


@pytest.mark.parametrize("tier", Tier)
def test_every_reason_has_its_tier(tier: Tier) -> None:
    assert {rule.reason for rule in RULES if rule.tier is tier} == REASONS[tier]


def test_what_is_severe_is_always_refused() -> None:
    assert all(rule.status for rule in RULES if rule.tier is Tier.SEVERE)


@pytest.mark.parametrize(
    "value", [b"a", b" A.b-c:80\t", b"a:", b"[::1]:8080", b"[::FFFF:1.2.3.4]", b"%41_~!$&'()*+,;="]
)
def test_hosts(value: bytes) -> None:
    assert is_host(value)


@pytest.mark.parametrize(
    "value",
    [b"", b":80", b"a:b", b"a b", b"a/", b"u@a", b"[a", b"::1", b"%4", b"\xe4", b"a\0", b"a\n"],
)
def test_no_hosts(value: bytes) -> None:
    assert not is_host(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0", 0),
        (b"\t 12 ", 12),
        (b"0" * 5000 + b"7", 7),
        (str(LENGTH_END - 1).encode(), LENGTH_END - 1),
        (str(LENGTH_END).encode(), None),
        (b"9" * 5000, None),
        (b"", None),
        (b"+1", None),
        (b"1_0", None),
        (b"\x0b1", None),
        ("\u0661".encode(), None),
    ],
)
def test_lengths(value: bytes, expected: int | None) -> None:
    assert number(value) == expected

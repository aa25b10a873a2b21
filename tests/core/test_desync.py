"""Desync mitigation against AWS's own cases, and what a judgement carries."""

import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import yaml

from gateway.core.desync import (
    CHUNKED,
    Mode,
    Ruling,
    Tier,
    judge,
    ruling,
)
from tests.desync import (
    TABLE,
    get,
    head_of,
    post,
)

SUITE = Path(__file__).parents[1] / "data" / "desync"


END = re.compile(rb"\n\r?\n")


# AWS's own cases


def suite() -> Iterator[tuple[str, dict]]:
    for path in sorted(SUITE.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            yield f"{path.stem}: {case['name']}", case


def unescaped(text: object) -> str:
    """Undo the second layer of escapes, as AWS's own test harness does."""
    return re.sub(r"\\(.)", lambda found: {"t": "\t", "n": "\n"}.get(found[1], found[1]), str(text))


def raw_head(case: dict, encoding: str) -> bytes:
    """Build the head as AWS's harness does, with a Host if it has none."""
    fields = [(unescaped(h["name"]), unescaped(h["value"])) for h in case["headers"] or []]
    if "Host" not in dict(fields):
        fields.insert(0, ("Host", "example.org"))
    line = " ".join(unescaped(case[key]) for key in ("method", "uri", "version"))
    text = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"{line}\r\n{text}\r\n".encode(encoding)
    return head[: END.search(head).end()]  # an escaped line end may end it early


CASES = [
    pytest.param(raw_head(case, encoding), case["expected"], id=f"{name} [{encoding}]")
    for (name, case), encoding in product(suite(), ("utf-8", "latin-1"))
    if encoding == "utf-8" or all(ord(char) < 256 for char in str(case))
]


NEVER_PASSED = {
    "rfc-compliant: Different Transfer-Encoding headers": 501,
    "rfc-compliant: Different Transfer-Encoding headers combined": 501,
    "rfc-compliant: Transfer-Encoding with a param: chunked;custom_param": 501,
    "acceptable: Non-RFC, but OK HTTP/0.9": 400,
    "acceptable: Empty version, which means HTTP/0.9": 400,
    "ambiguous: Both Transfer-Encoding and Content-Length": 501,
    "ambiguous: Transfer-Encoding for HTTP/1.0": 400,
    "ambiguous: Transfer-Encoding for HTTP/0.9": 400,
    "ambiguous: Content-Length for HTTP/0.9": 400,
    "ambiguous: Transfer-Encoding for empty protocol, which is HTTP/0.9": 400,
    "ambiguous: Content-Length for empty protocol, which is HTTP/0.9": 400,
}
"""Tier and reason are AWS's in every case. These are refused all the same: codings that we do not
undo (501), HTTP/0.9, and Transfer-Encoding before HTTP/1.1 (400)."""


@pytest.mark.parametrize(("head", "expected"), CASES)
def test_aws_names_the_same_tier_and_reason(head: bytes, expected: dict) -> None:
    judgement = judge(head)

    assert (judgement.tier, judgement.reason or "Compliant") == (
        expected["tier"],
        expected["reason"],
    )


def test_of_aws_cases_only_those_listed_are_refused_whatever_the_mode() -> None:
    refused = {
        name: judgement.status
        for name, case in suite()
        if (judgement := judge(raw_head(case, "utf-8"))).status
        and case["expected"]["tier"] != "Severe"
    }

    assert refused == NEVER_PASSED


def test_strictest_passes_the_compliant_cases_alone() -> None:
    """P11, with the exceptions listed."""
    passed = {
        name: case["expected"]["tier"]
        for name, case in suite()
        if ruling(judge(raw_head(case, "utf-8")), Mode.STRICTEST) is Ruling.PASS
    }

    assert set(passed.values()) == {"Compliant"}
    assert len(passed) == 14 - 3


VERDICTS = Path(__file__).parents[1] / "data" / "classifier" / "verdicts.jsonl"


def severity(tier: str, status: int) -> int:
    """Return how far a head is from being passed on; a status refuses it like Severe."""
    return list(Tier).index(Tier.SEVERE if status else Tier(tier))


def test_no_head_is_judged_more_mildly_than_by_aws_classifier() -> None:
    rows = [json.loads(line) for line in VERDICTS.read_text().splitlines()]
    judged = [(row, judge(row["head"].encode("latin-1"))) for row in rows]

    assert len(rows) == 600
    assert [
        (row, judgement)
        for row, judgement in judged
        if list(Tier).index(judgement.tier) < list(Tier).index(row["tier"])
        or severity(judgement.tier, judgement.status) < severity(row["tier"], 0)
    ] == []


def test_the_suite_is_whole() -> None:
    tiers = [case["expected"]["tier"] for _, case in suite()]

    assert {tier: tiers.count(tier) for tier in Tier} == {
        "Compliant": 14,
        "Acceptable": 9,
        "Ambiguous": 41,
        "Severe": 32,
    }


@pytest.mark.parametrize("head", TABLE, ids=ascii)
def test_every_row_in_every_mode(head: bytes) -> None:
    reason, status, rulings = TABLE[head]

    judgement = judge(head)

    assert (judgement.reason, judgement.status) == (reason, status)
    assert tuple(ruling(judgement, mode) for mode in Mode) == rulings


@pytest.mark.parametrize("head", TABLE, ids=ascii)
def test_details_are_one_printable_line_unless_there_is_nothing_to_say(head: bytes) -> None:
    judgement = judge(head)

    assert judgement.detail.isprintable()
    assert judgement.detail.isascii()
    assert len(judgement.detail) < 500
    assert bool(judgement.detail) == bool(judgement.reason or judgement.status)


def test_the_detail_of_a_refusal_is_what_it_is_refused_for() -> None:
    judgement = judge(get(b"Transfer-Encoding: Deflate", b"X: \x01"))

    assert judgement.detail == "a transfer coding other than one chunked: 'deflate'"


def test_classification_is_what_requests_carry() -> None:
    assert judge(get(b" x")).classification == "Ambiguous MultilineHeader"
    assert judge(get()).classification == ""
    assert judge(post(b"Transfer-Encoding: gzip")).classification == ""


# What a judgement carries


def test_a_strict_head_stays_the_same_bytes() -> None:
    heads = [
        get(b"X: \xe4\t"),
        b"\r\n" + get(),
        post(b"content-length: 05 "),
        post(b"Transfer-Encoding:\tChunked"),
        get(b"Content-Length: 5"),
        post(b"Content_Length: 5"),
        head_of(b"OPTIONS * HTTP/1.0"),
    ]

    assert all(judge(head).head is head for head in heads)


def test_what_cannot_be_said_strictly_is_kept_beside_the_head() -> None:
    judgement = judge(
        head_of(
            b"BREW /a b?c d#\tx HTTP/1.2",
            b"Host:\t a ",
            b"X-Kept: yes",
            b": nameless",
            b" folded",
            b"no colon",
            b"X Y : \x01z",
            b"Content-Length: 3",
            b"content-length: 03",
            b"Upgrade: h2c",
        )
    )

    assert judgement.head == head_of(
        b"POST / HTTP/1.1", b"Host: a", b"X-Kept: yes", b"Content-Length: 3"
    )
    assert (judgement.method, judgement.target) == ("BREW", b"/a b?c d#\tx")
    assert (judgement.version, judgement.length) == ("1.2", 3)
    assert judgement.headers == [
        (b"Host", b"a"),
        (b"X-Kept", b"yes"),
        (b" folded", b""),
        (b"no colon", b""),
        (b"X Y ", b"\x01z"),
        (b"Content-Length", b"3"),
        (b"Upgrade", b"h2c"),
    ]


def test_beside_chunked_no_length_is_left() -> None:
    judgement = judge(
        head_of(
            b"PUT /a HTTP/1.1",
            b"Host: a",
            b"Content-Length: 3",
            b"Transfer-Encoding: chunked",
            b"Content_Length:3",
        )
    )

    assert judgement.length == CHUNKED
    assert judgement.head == head_of(b"PUT /a HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked")
    assert judgement.headers[1:] == [
        (b"Transfer-Encoding", b"chunked"),
        (b"Content_Length", b"3"),
    ]


def test_identity_counts_as_none() -> None:
    judgement = judge(post(b"Transfer-Encoding: identity", b"Content-Length: 3"))

    assert judgement.length == 3
    assert judgement.head == post(b"Content-Length: 3")


def test_an_unreadable_line_is_carried_as_far_as_it_can_be_read() -> None:
    unreadable = judge(b"\xff\x00 /a b\n\n")
    higher = judge(head_of(b"PRI * HTTP/2.0"))

    assert (unreadable.method, unreadable.target, unreadable.version) == ("\xff\x00", b"/a", "")
    assert (higher.method, higher.target, higher.version) == ("PRI", b"*", "2.0")
    assert judge(b"GET\n\n").version == "0.9"

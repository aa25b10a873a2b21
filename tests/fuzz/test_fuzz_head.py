"""The judgement of heads against anything at all."""

from pathlib import Path

import pytest
from hypothesis import strategies as st

from gateway.core.desync import (
    CHUNKED,
    Mode,
    Ruling,
    Tier,
    has_plain_fields,
    is_plain,
    judge,
    ruling,
)
from gateway.core.http import Headers, header
from gateway.wire.h1 import HEAD_END, RequestParser, Unparsable
from tests.desync import FRAMING, PROBE, TABLE, framed_by_h11, framed_by_httptools
from tests.fuzz.harness import checked, fuzz, mutated, seeds
from tests.soaking import soak_only

NAME = "head"
STATUSES = {0, 400, 501, 505}


def check(head: bytes) -> None:
    """Whatever passes is framed in one way, and the quick way says what the slow one says."""
    judgement = judge(head)
    rulings = {mode: ruling(judgement, mode) for mode in Mode}

    assert judgement.status in STATUSES
    assert judgement.detail.isprintable()
    assert judgement.tier is not Tier.SEVERE or set(rulings.values()) == {Ruling.REFUSE}
    if rulings[Mode.MONITOR] is not Ruling.REFUSE:
        check_framing(judgement.head, judgement.length)
        declared = header(judgement.headers, b"content-length")
        stated = int(declared.lstrip(b"0") or b"0") if declared else min(judgement.length, 0)
        assert judgement.length == stated
        assert all(name.strip(b" \t") for name, _ in judgement.headers)
    if found := HEAD_END.search(head):
        check_plain(head[: found.end()])  # what the front cuts off


def declared_length(headers: Headers) -> int:
    """Return what the front waits for: the event's own Content-Length, or nothing."""
    declared = header(headers, b"content-length") or b""
    return int(declared.lstrip(b"0") or b"0")


def check_framing(head: bytes, length: int) -> None:
    """All parsers read the body that was judged."""
    parser = RequestParser()
    parser.feed_head(head)
    expected = CHUNKED if length == CHUNKED else min(length, PROBE)

    assert parser.is_complete is (length == 0)
    assert not parser.is_upgrade
    assert framed_by_httptools(head) == expected
    assert framed_by_h11(head) in {expected, None}  # it refuses empty lines in front, among others


def check_plain(head: bytes) -> None:
    """Where the front does not ask for a judgement, it would be Compliant and say the same."""
    parser = RequestParser()
    if not is_plain(head):
        return
    try:
        parser.feed_head(head)
    except Unparsable:
        return
    if parser.is_upgrade or not has_plain_fields(parser.method, parser.version, parser.headers):
        return
    judgement = judge(head)

    assert (judgement.tier, judgement.status) == (Tier.COMPLIANT, 0)
    assert judgement.method == parser.method.decode()
    assert judgement.target == parser.target
    assert judgement.version == parser.version
    assert judgement.headers == parser.headers
    assert (judgement.length == 0) is parser.is_complete


HEADS = [*TABLE, *(b"POST /a HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n" for line in FRAMING)]
PARTS = [
    *[b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b",", b";", b"/", b"HTTP/1.1", b"1.0", b"#"],
    *[b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"0" * 20],
    *[b"Content-Length", b"Transfer-Encoding", b"chunked", b"gzip", b"identity", b"\x80", b"://"],
    *[b"Connection: upgrade\r\n", b"Upgrade: x\r\n", b"\r\nX: y"],
]


@pytest.mark.parametrize("seed", seeds(NAME), ids=lambda seed: seed.name)
def test_head_found_before_is_judged(seed: Path) -> None:
    checked(check, seed.read_bytes())


@pytest.mark.slow
@soak_only
def test_any_head_is_judged_in_one_way() -> None:
    assert fuzz(NAME, check, mutated(HEADS, PARTS) | st.binary(max_size=200))

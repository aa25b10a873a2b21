"""Combinations of our own, the path of ordinary requests, and any bytes at all."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.desync import (
    Judgement,
    Mode,
    Ruling,
    Tier,
    has_plain_fields,
    is_plain,
    judge,
    ruling,
)
from tests.desync import (
    FRAMING,
    LINES,
    MATRIX,
    PROBE,
    TABLE,
    Reader,
    framed_by_h11,
    framed_by_httptools,
    get,
    head_of,
    post,
)

END = re.compile(rb"\n\r?\n")


# Own combinations of whatever frames, against other parsers

HEADS = [*TABLE, *(head for head, _ in MATRIX)]


def test_the_matrix_is_large_and_of_both_kinds() -> None:
    passing = [head for head, _ in MATRIX if not judge(head).status]

    assert len({head for head, _ in MATRIX}) > 2000
    assert len(passing) > 500


def test_whatever_passes_is_framed_as_its_lines_say() -> None:
    wrong = [
        (head, expected, judgement)
        for head, expected in MATRIX
        if not (judgement := judge(head)).status and judgement.length != expected
    ]

    assert wrong == []


def test_ambiguous_framing_never_passes() -> None:
    assert [head for head, expected in MATRIX if expected is None and not judge(head).status] == []


@pytest.mark.slow
@pytest.mark.parametrize("framed", [framed_by_httptools, framed_by_h11])
def test_strict_heads_are_framed_as_judged(framed: Callable[[bytes], int | None]) -> None:
    passing = [judgement for head in HEADS if not (judgement := judge(head)).status]

    assert [j for j in passing if framed(_without_leading(j)) != min(j.length, PROBE)] == []


def _without_leading(judgement: Judgement) -> bytes:
    """Drop empty lines before the head, which h11 does not ignore."""
    return judgement.head.lstrip(b"\r\n")


@pytest.mark.slow
def test_a_strict_head_is_judged_the_same_or_better() -> None:
    for head in HEADS:
        judgement = judge(head)
        if judgement.status:
            continue
        again = judge(judgement.head)

        assert (again.status, again.length) == (0, judgement.length)
        assert again.head is judgement.head
        assert again.tier in {Tier.COMPLIANT, judgement.tier}


@pytest.mark.slow
@pytest.mark.parametrize("framed", [framed_by_httptools, framed_by_h11])
def test_no_parser_takes_the_original_with_another_framing(
    framed: Callable[[bytes], int | None],
) -> None:
    """P12 in its small form; there are no agreed exceptions."""
    wrong = [
        (head, judgement)
        for head in HEADS
        if ruling(judgement := judge(head), Mode.DEFENSIVE) is not Ruling.REFUSE
        and framed(head) not in {None, min(judgement.length, PROBE)}
    ]

    assert wrong == []


# The good path

METHODS = [b"GET", b"HEAD", b"POST", b"BREW", b"post", b"CONNECT", b"PRI", b"M-SEARCH", b"OPTIONS"]


METHODS += [b"SOURCE", b"DESCRIBE", b"", b" GET", b"\rPOST", b"\nPOST", b"\r\nPOST"]


TARGETS = [b"/a", b"/a#b?c\"'", b"*", b"http://b/", b"a", b"", b" /a", b"/a ", b"/a b", b"/\xe4"]


VERSIONS = [b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.2", b" HTTP/0.9", b" HTTP/2.0", b"", b" "]


VERSIONS += [b" RTSP/1.0", b" ICE/1.0", b"\tHTTP/1.1", b" HTTP/1.1 ", b" http/1.1"]


FIELDS = [[b"Host: a"], [], [b"Host: a", b"host: b"], [b"Host: a b"], [b"Host:"], [b"Host: a "]]


FIELDS += [[b"X: HTTP/1.1", b"Host: a"], [b"Host: a", b"Upgrade: x", b"Connection: upgrade"]]


ENDS = [b"\r\n", b"\n", b"\r"]


def assert_plain_is_compliant(head: bytes) -> bool:
    """Return whether a head took the good path; if it did, `judge` must say the same."""
    reader = Reader()
    if not (is_plain(head) and reader.accepts(head) and reader.has_head):
        return False
    method, version = reader.parser.get_method(), reader.parser.get_http_version()
    headers = [(name, value.rstrip()) for name, value in reader.headers]
    if not has_plain_fields(method, version, headers):
        return False
    judgement = judge(head)
    assert (judgement.tier, judgement.status, judgement.reason) == (Tier.COMPLIANT, 0, "")
    assert (judgement.method, judgement.version) == (method.decode(), version)
    assert (judgement.target, judgement.headers) == (reader.target, headers)
    assert min(judgement.length, PROBE) == framed_by_httptools(head)
    return True


@pytest.mark.slow
def test_the_good_path_is_compliant_for_every_request_line() -> None:
    parts = product(METHODS, TARGETS, VERSIONS, FIELDS, ENDS)
    taken = [
        assert_plain_is_compliant(head_of(method + b" " + target + version, *fields, end=end))
        for method, target, version, fields, end in parts
    ]

    assert taken.count(True) > 20


@pytest.mark.slow
def test_the_good_path_is_compliant_for_every_framing() -> None:
    lines = product(LINES, FRAMING)
    alone = [head_of(line, b"Host: a", framing, end=end) for (line, end), framing in lines]
    taken = [assert_plain_is_compliant(head) for head in [*alone, *HEADS]]

    assert taken.count(True) > 25


PLAIN = [
    get(b"X: y"),
    post(b"Content-Length: 5"),
    post(b"Transfer-Encoding: chunked"),
    head_of(b"DELETE /a?b HTTP/1.0", b"Host: a:80", b"Connection: keep-alive"),
]


@pytest.mark.parametrize("head", PLAIN)
def test_ordinary_requests_take_the_good_path(head: bytes) -> None:
    assert assert_plain_is_compliant(head)


def test_white_space_behind_a_value_need_not_be_stripped_to_be_safe() -> None:
    headers = [(b"Host", b"a \t"), (b"X", b"y ")]

    assert has_plain_fields(b"GET", "1.1", headers)
    assert not has_plain_fields(b"POST", "1.1", [*headers, (b"Content-Length", b"5 ")])
    two = [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")]
    assert not has_plain_fields(b"POST", "1.1", [*headers, *two])


@given(
    st.sampled_from([*PLAIN, *TABLE]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=3)), max_size=3),
)
@example(b"GET /a\nX: HTTP/1.1\r\nHost: a\r\n\r\n", [])  # llhttp #877
@example(b"OPTIONS /a RTSP/1.0\r\nHost: a\r\n\r\n", [])
def test_the_good_path_is_compliant_for_whatever_was_changed(
    head: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for start, size, put in changes:
        head = head[:start] + put + head[start + size :]

    found = END.search(head)
    assert_plain_is_compliant(head[: found.end()] if found else head)  # what the front cuts off


# Whatever strangers send


@given(st.binary(max_size=300), st.sampled_from([b"\n\n", b"\r\n\r\n", b"\n\r\n", b""]))
def test_any_bytes_are_judged(head: bytes, end: bytes) -> None:
    judgement = judge(head + end)

    assert judgement.detail.isprintable()
    assert judgement.status or framed_by_httptools(judgement.head) == min(judgement.length, PROBE)


@given(st.text("GPOST /HTP1.0\r\n\t :;,Cacontehludk-_5\0\x01\x80", max_size=200))
def test_any_mixture_of_what_heads_are_made_of_is_judged(text: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + text.encode("latin-1") + b"\r\n\r\n"
    judgement = judge(head[: END.search(head).end()])

    assert judgement.status or framed_by_httptools(judgement.head) == min(judgement.length, PROBE)


LARGE = 64 * 1024


NASTY = [
    b"a:\r\n",
    b":\n",
    b"a:\n",
    b" \n",
    b"x\n",
    b"x\r\n",
    b" x\r\n",
    b"\x01:\r\n",
    b"a\rb:\r\n",
]


NASTY += [b"Host: a\r\n", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"]


NASTY += [b"Content-Length: 1\r\n 1\r\n", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"]


LONG = [
    b"GET %b HTTP/1.1\r\n\r\n",
    b"%b\r\n\r\n",
    b"GET / HTTP/1.1\r\n%b\r\n\r\n",
    b"%b / HTTP/%b\n\n",
]


LONG += [b"GET / HTTP/1.1\r\nContent%bLength: 1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: %b@\r\n\r\n"]


LONG += [b"POST / HTTP/1.1\r\nTransfer-Encoding: %b\r\n\r\n", b"GET http://%b HTTP/1.1\r\n\r\n"]


LONG += [b"POST / HTTP/1.1\r\nContent-Length: %b\r\n\r\n", b"%bGET / HTTP/1.1\r\n\r\n"]


UNITS = [
    b"a",
    b" ",
    b"\t",
    b",",
    b"9",
    b"0",
    b"\r",
    b"\n",
    b"\r\n",
    b"%41",
    b"a@",
    b"\xc4\xb1",
    b": ",
]


def large_heads() -> Iterator[bytes]:
    for unit in NASTY:
        yield b"GET / HTTP/1.1\r\n" + unit * (LARGE // len(unit)) + b"\r\n\r\n"
    for form, unit in product(LONG, UNITS):
        yield form.replace(b"%b", unit * (LARGE // len(unit) // form.count(b"%b")))
    yield get(*(b"%x@: y" % number for number in range(LARGE // 10)))


@pytest.mark.slow
def test_large_heads_take_less_than_50_ms() -> None:
    limit = 0.5 if sys.gettrace() else 0.05  # coverage makes it ten times slower
    slow = {head[:40]: spent for head in large_heads() if (spent := _seconds(head, limit)) > limit}

    assert slow == {}


def _seconds(head: bytes, limit: float) -> float:
    """Return the CPU time of one judgement, the best of those until one is within the limit: what
    shares a core makes some take longer."""
    spent = []
    while len(spent) < 50 and min(spent, default=1) > limit:
        start = time.process_time()
        judge(head)
        spent.append(time.process_time() - start)
    return min(spent)

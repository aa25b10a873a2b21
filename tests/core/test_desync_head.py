"""Heads taken apart."""

import pytest

from gateway.core.desync_head import HeadEnd, Role, read_head, role_of

LINES = {
    b"GET /a HTTP/1.1": (b"GET", b"/a", "1.1", False),
    b"GET /a b HTTP/1.0": (b"GET", b"/a b", "1.0", False),
    b"GET  /a  HTTP/1.1": (b"GET", b"/a", "1.1", True),
    b"GET /a HTTP/1.1 \t": (b"GET", b"/a", "1.1", True),
    b"GET /a \tHTTP/1.1": (b"GET", b"/a", "1.1", True),
    b"GET /a\tHTTP/1.1": (b"GET", b"/a\tHTTP/1.1", "0.9", False),
    b"GET /a": (b"GET", b"/a", "0.9", False),
    b"GET /a ": (b"GET", b"/a", "0.9", False),
    b"GET /a b": (b"GET", b"/a", "", False),
    b"GET /a HTTP/1.x": (b"GET", b"/a", "", False),
    b"GET /a HTTP/3": (b"GET", b"/a", "3", False),
    b"GET /a HTTP/12.34": (b"GET", b"/a", "12.34", False),
    b"GET  HTTP/1.1": (b"GET", b"", "1.1", False),
    b"GET HTTP/1.1": (b"GET", None, "1.1", False),
    b"GET ": (b"GET", None, "0.9", False),
    b"": (b"", None, "0.9", False),
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_request_line_has_three_parts_or_fewer(line: bytes, end: bytes) -> None:
    raw = read_head(line + end + end)

    assert (raw.method, raw.target, raw.version, raw.is_spaced) == LINES[line]


def test_every_line_is_a_field_as_it_was_received() -> None:
    raw = read_head(b"\r\nGET / HTTP/1.1\r\nHost: a \r\n b:c:d\n: \r\nno colon\r\n\r\n")

    assert raw.fields == [
        (b"Host", b" a ", Role.HOST, b":"),
        (b" b", b"c:d", Role.FOLDED, b":"),
        (b"", b" ", Role.EMPTY, b":"),
        (b"no colon", b"", Role.ODD, b""),
    ]
    assert raw.values[Role.HOST] == [b" a "]
    assert raw.has_bare_lf
    assert not raw.has_bad_byte


@pytest.mark.parametrize(
    ("block", "ending", "count"),
    [
        (b"a:\r\n\r\n", HeadEnd.COMPLETE, 1),
        (b"\n", HeadEnd.COMPLETE, 0),
        (b"a:\n\nb:\n\n", HeadEnd.MORE, 1),
        (b"a:\r\n\r\nb", HeadEnd.MORE, 1),
        (b"a:\r\n", HeadEnd.NO_EMPTY_LINE, 1),
        (b"", HeadEnd.NO_EMPTY_LINE, 0),
        (b"a:\r\nb", HeadEnd.PARTIAL_LINE, 2),
        (b"a:\r\n\r", HeadEnd.PARTIAL_LINE, 2),
    ],
)
def test_a_head_ends_at_its_first_empty_line(block: bytes, ending: HeadEnd, count: int) -> None:
    raw = read_head(b"GET / HTTP/1.1\r\n" + block)

    assert (raw.ending, len(raw.fields)) == (ending, count)


@pytest.mark.parametrize(
    ("block", "is_bad"),
    [
        (b"a: b\n", False),
        (b"a: b\r\n c\r\n", False),
        (b"a\r\nb: c\r\n", False),
        (b"a: b\n c\n", True),
        (b"a: b\n\tc\r\n", True),
        (b"a\nb: c\r\n", True),
        (b"a: b\0\r\n", True),
        (b"a: \rb\r\n", True),
        (b"a: b\r\r\n", True),
    ],
)
def test_what_no_header_may_hold_is_seen(block: bytes, is_bad: bool) -> None:
    assert read_head(b"GET / HTTP/1.1\r\n" + block + b"\r\n").has_bad_byte == is_bad


@pytest.mark.parametrize(
    ("name", "role"),
    [
        (b"hOST", Role.HOST),
        (b"Content-length", Role.LENGTH),
        (b"TRANSFER-encoding", Role.ENCODING),
        (b"Upgrade", Role.UPGRADE),
        (b"content.length", Role.LENGTH_LIKE),
        (b"Content---Length", Role.LENGTH_LIKE),
        (b"Content-Length\x88", Role.LENGTH_LIKE),
        ("\u2003Transfer\u2015Encoding".encode(), Role.ENCODING_LIKE),
        ("tran\u017ffer-encod\u0131ng".encode(), Role.ENCODING_LIKE),
        (b"\tTransfer-Encoding", Role.ENCODING_LIKE),
        (b"ContentLength", None),
        (b"X-Content-Length", None),
        (b"Content-Length-2", None),
        (b"My_Header.!#$%&'*+^`|~09", None),
        (b"", Role.EMPTY),
        (b" \t", Role.EMPTY),
        (b" Host", Role.FOLDED),
        (b"Host ", Role.ODD),
        (b"Ho\xc3\xa4st", Role.ODD),
        (b"a" * 20_000, None),
    ],
)
def test_a_name_has_a_role(name: bytes, role: Role | None) -> None:
    assert role_of(name) is role
    assert role_of(name) is role  # remembered

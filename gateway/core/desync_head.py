"""A request head in parts, read as tolerantly as any peer may have read it.

Strategy: nothing is refused here. A line ends at LF, with or without CR (RFC 9112 section 2.2); the
method ends at the first space and the version begins after the last one, so that a space in the
target stays in the target; a name ends at the first colon and keeps whatever is around it, so
that ` Host` and `Host ` never become `Host`. A folded line is a header of its own, and so is a line
without colon: ALB appends the colon (alb.md 1.6). What a name means for framing is its role.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import cast

from gateway.core.memo import Memo

TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]++")
"""RFC 9110 section 5.6.2."""

VERSION = re.compile(rb"\t*+HTTP/(0\.9|1\.[0-9]|(?:[2-9]|[1-9][0-9]++)(?:\.[0-9]++)?)")
"""The versions that have a meaning: 0.9, 1.x and every higher major (RFC 9112 section 2.3)."""

LEADING = re.compile(rb"(?:\r?\n)*+")
"""Empty lines before the request line frame nothing (RFC 9112 section 2.2)."""

INNER_LF = re.compile(rb"(?m)(?<!\r)\n[ \t]|^[^:\n]++(?<!\r)\n")
"""A bare LF inside a field: the next line goes on with it, or its colon has not come yet."""

NOT_LETTERS = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))


class Role(StrEnum):
    """What a field's name means for framing; its strings are hashed and compared fast."""

    HOST = auto()
    LENGTH = auto()
    ENCODING = auto()
    UPGRADE = auto()
    LENGTH_LIKE = auto()
    ENCODING_LIKE = auto()
    EMPTY = auto()
    FOLDED = auto()
    ODD = auto()


ROLES = {
    b"host": Role.HOST,
    b"content-length": Role.LENGTH,
    b"transfer-encoding": Role.ENCODING,
    b"upgrade": Role.UPGRADE,
}

NO_LETTERS = re.compile(rb"[^0-9A-Za-z]*+")
TWO_BYTES = {"s": "\u017f", "i": "\u0131"}
"""Letters whose upper case is ASCII: long s and dotless i."""


def _step(letter: str) -> re.Pattern[bytes]:
    """Return what AWS's classifier takes for one character of a name that frames, and skips."""
    if letter == "-":
        return re.compile(rb"(?s:.)[^0-9A-Za-z]*+")
    also = TWO_BYTES.get(letter, letter).encode()
    return re.compile(rb"(?:%b|%b|%b)[\0- ]*+" % (letter.encode(), letter.upper().encode(), also))


@dataclass(frozen=True, slots=True)
class _Original:
    """A name that frames, as its look-alikes are compared with it."""

    like: Role
    size: int
    """AWS's classifier takes a shorter name for a different one."""
    letters: bytes
    steps: tuple[re.Pattern[bytes], ...]

    @classmethod
    def named(cls, name: str, like: Role) -> "_Original":
        letters = name.replace("-", "").upper().encode()
        return cls(like, len(name), letters, tuple(map(_step, name)))


ORIGINALS = (
    _Original.named("transfer-encoding", Role.ENCODING_LIKE),
    _Original.named("content-length", Role.LENGTH_LIKE),
)


class HeadEnd(Enum):
    """How a head ends."""

    COMPLETE = auto()
    NO_EMPTY_LINE = auto()
    PARTIAL_LINE = auto()
    MORE = auto()
    """It goes on behind its empty line."""


Field = tuple[bytes, bytes, Role | None, bytes]
"""One header line: its name and value as received, the role of the name, and the colon between.

A plain tuple: a head of 64 KB may have 32,000 lines, and this is made for each."""


@dataclass(slots=True)
class RawHead:
    """The parts of a head; only spaces around target and version are gone."""

    method: bytes
    target: bytes | None
    """None where the line has no place for one."""
    version: str
    """`1.1`; `0.9` where the line has none, empty where it cannot be read."""
    is_spaced: bool
    """More than one space, or a tab, parts target and version or follows them."""
    is_tabbed: bool
    """A tab comes before the version, which AWS's classifier then takes for one below 0.9."""
    fields: list[Field]
    values: dict[Role, list[bytes]]
    """The values of the fields with a role, in order."""
    ending: HeadEnd
    has_empty_line: bool
    """An empty line comes before the request line."""
    has_bare_lf: bool
    has_bad_byte: bool
    """A header holds NUL, a CR that ends no line, or a LF."""


def read_head(head: bytes) -> RawHead:
    """Take a head apart; any bytes at all have a reading."""
    leading = _end(LEADING, head, 0)
    first, _, block = head[leading:].partition(b"\n")
    has_bare_lf = head.count(b"\n") != head.count(b"\r\n")
    has_bad_byte = b"\0" in block or block.count(b"\r") != block.count(b"\r\n")
    lines, ending = _header_lines(block)
    parts = [line.partition(b":") for line in lines]
    fields = [(name, value, role_of(name), colon) for name, colon, value in parts]
    return RawHead(
        *_request_line(first.removesuffix(b"\r")),
        fields,
        _by_role(fields),
        ending,
        leading > 0,
        has_bare_lf,
        has_bad_byte or (has_bare_lf and INNER_LF.search(block) is not None),
    )


def _request_line(line: bytes) -> tuple[bytes, bytes | None, str, bool, bool]:
    """Return method, target, version and whether there is more space than belongs there, or a
    tab."""
    method, _, rest = line.partition(b" ")
    text = rest.rstrip(b" \t")
    before, gap, last = text.rpartition(b" ")
    target = before.strip(b" ")
    found = VERSION.fullmatch(last)
    if found:
        is_tabbed = last.startswith(b"\t")
        is_spaced = is_tabbed or text != rest or target != before
        return method, target if gap else None, found[1].decode(), is_spaced, is_tabbed
    if gap or last.startswith(b"HTTP/1."):
        return method, target if gap else None, "", False, False
    return method, rest.strip(b" ") or None, "0.9", False, False


def _header_lines(block: bytes) -> tuple[list[bytes], HeadEnd]:
    """Return the lines without their ends, up to the first empty one."""
    *lines, rest = block.replace(b"\r\n", b"\n").split(b"\n")
    if b"" in lines:
        end = lines.index(b"")
        return lines[:end], HeadEnd.MORE if rest or lines[end + 1 :] else HeadEnd.COMPLETE
    if rest:
        return [*lines, rest], HeadEnd.PARTIAL_LINE
    return lines, HeadEnd.NO_EMPTY_LINE


def _by_role(fields: list[Field]) -> dict[Role, list[bytes]]:
    values = defaultdict(list)
    for _, value, role, _ in fields:
        if role:
            values[role].append(value)
    return values


def _role(name: bytes) -> Role | None:
    return ROLES.get(name.lower()) or _look_alike(name) or _odd_role(name)


role_of = Memo(_role).__getitem__
"""Return what a name, as received, means for framing; None for a token that means nothing."""


def _look_alike(name: bytes) -> Role | None:
    """Return the role of a name that a careless reader may take for one that frames.

    It has the same letters and digits, or AWS's classifier takes it for one.
    """
    if len(name) < min(original.size for original in ORIGINALS):
        return None
    letters = name.decode(errors="ignore").upper().encode().translate(None, NOT_LETTERS)
    for original in ORIGINALS:
        if len(name) >= original.size and (
            letters == original.letters or _is_same_for_aws(name, original.steps)
        ):
            return original.like
    return None


def _is_same_for_aws(name: bytes, steps: tuple[re.Pattern[bytes], ...]) -> bool:
    """Compare as AWS's classifier does: any byte may take the place of the dash, and any bytes but
    letters and digits may follow from the first letter that differs on."""
    at = _end(NO_LETTERS, name, 0)
    for step in steps:
        found = step.match(name, at)
        if found is None:
            return at < len(name) and _end(NO_LETTERS, name, at) == len(name)
        at = found.end()
    return _end(NO_LETTERS, name, at) == len(name)


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Return where a pattern that matches everywhere ends."""
    return cast("re.Match[bytes]", pattern.match(text, at)).end()


def _odd_role(name: bytes) -> Role | None:
    if TOKEN.fullmatch(name):
        return None
    if not name.strip(b" \t"):
        return Role.EMPTY
    return Role.FOLDED if name[0] in b" \t" else Role.ODD

"""The rules of a request head with their tiers and reasons (alb.md 4.9), and which ones it breaks.

Strategy: the rules are a table. A head that was taken apart (desync_head.py) is checked against all
of them, in the order in which AWS's own classifier names its reasons (tests/data/desync), because
the first among equals is the one that is logged. A rule with a status is never passed on, whatever
the mode; where AWS's load balancer would do otherwise, the constant says so.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from gateway.core.desync_head import TOKEN, Field, HeadEnd, RawHead, Role
from gateway.core.listener import authority

NO_VERSION_STATUS = 400
"""HTTP/0.9 has no headers to frame by. A difference: ALB speaks it (alb.md 4.1)."""

HIGHER_MAJOR_STATUS = 505
"""HTTP/2 spoken in HTTP/1 lines, the h2 preface included (alb.md 5.1)."""

OTHER_CODING_STATUS = 501
"""A coding we know of and do not undo (RFC 9112 section 6.1; alb.md 5.1)."""

OLD_CODING_STATUS = 400
"""HTTP/1.0 with Transfer-Encoding has no framing that all agree on (RFC 9112 section 6.1; ADR
0013)."""

TWO_HOSTS_STATUS = 400
"""RFC 9112 section 3.2. ALB's guide speaks of passing several (alb.md 1.7), which 0 would do."""

LENGTH_END = 2**63
"""No real client has a longer body, and parsers differ in where they overflow (llhttp: 2^64)."""

LENGTH_DIGITS = len(str(LENGTH_END))

CODINGS = frozenset({b"chunked", b"gzip", b"deflate", b"compress", b"identity"})
"""RFC 9112 section 7 without its aliases, which AWS's classifier refuses, and RFC 2616's
`identity`."""

BODY_WITHOUT_MEANING = frozenset({b"GET", b"HEAD"})
"""Methods whose body has no meaning (alb.md 4.9)."""

OLD_VERSIONS = frozenset({"0.9", "1.0"})
"""They know neither Transfer-Encoding nor a Host that must be there."""

FIELD_VALUE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""What a value may hold: visible, space, tab, obs-text (RFC 9110 section 5.5)."""

TARGET_BYTES = bytes([*range(0x21, 0x7F), *range(0x80, 0x100)])
"""What a target may hold; AWS's suite has raw UTF-8 in a compliant one."""

HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[-._~!$&'()*+,;=0-9A-Za-z]|%[0-9A-Fa-f]{2})++)(?::[0-9]*)?"
)
"""RFC 3986 section 3.2.2; an empty host is invalid in http (RFC 9110 section 4.2.1)."""


class Tier(StrEnum):
    """The desync class as the access log prints it, from harmless to hopeless."""

    COMPLIANT = "Compliant"
    ACCEPTABLE = "Acceptable"
    AMBIGUOUS = "Ambiguous"
    SEVERE = "Severe"


@dataclass(frozen=True, slots=True, eq=False)
class DesyncRule:
    """One thing that can be wrong with a head."""

    tier: Tier
    reason: str
    """AWS's word, empty where it has none."""
    words: str
    status: int = 0
    """Refuse with it whatever the mode; 0 where the mode decides by tier."""


COMPLIANT, ACCEPTABLE, AMBIGUOUS, SEVERE = Tier

BARE_LF = DesyncRule(ACCEPTABLE, "NonCrLfLineTermination", "a line ends in LF alone")
ODD_HEADER = DesyncRule(ACCEPTABLE, "NonCompliantHeader", "odd bytes in a header")
ZERO_LENGTH = DesyncRule(ACCEPTABLE, "GetHeadZeroContentLength", "Content-Length: 0 on GET or HEAD")
ODD_VERSION = DesyncRule(ACCEPTABLE, "NonCompliantVersion", "HTTP/1.2 to 1.9, or stray spaces")
NO_VERSION = DesyncRule(
    ACCEPTABLE, "NonCompliantVersion", "HTTP/0.9 or no version", NO_VERSION_STATUS
)
SPACE_IN_URI = DesyncRule(ACCEPTABLE, "SpaceInUri", "a space in the target")

EMPTY_NAME = DesyncRule(AMBIGUOUS, "EmptyHeader", "a header line without name")
LOOK_ALIKE = DesyncRule(AMBIGUOUS, "SuspiciousHeader", "a name that looks like one that frames")
FOLDED_LINE = DesyncRule(AMBIGUOUS, "MultilineHeader", "a folded header line")
NO_COLON = DesyncRule(AMBIGUOUS, "MissingHeaderColon", "a header line without colon")
EQUAL_LENGTHS = DesyncRule(AMBIGUOUS, "DuplicateContentLength", "Content-Length repeated")
BOTH = DesyncRule(AMBIGUOUS, "BothTeClPresent", "Content-Length beside Transfer-Encoding")
UNDEFINED_LENGTH = DesyncRule(
    AMBIGUOUS,
    "UndefinedContentLengthSemantics",
    "Content-Length on GET or HEAD, in HTTP/0.9, or behind a tab",
)
UNDEFINED_CODING = DesyncRule(
    AMBIGUOUS,
    "UndefinedTransferEncodingSemantics",
    "Transfer-Encoding on GET or HEAD, or a name like it before HTTP/1.1, or behind a tab",
)
OLD_CODING = DesyncRule(
    AMBIGUOUS,
    "UndefinedTransferEncodingSemantics",
    "Transfer-Encoding before HTTP/1.1",
    OLD_CODING_STATUS,
)
CONTROL_IN_URI = DesyncRule(AMBIGUOUS, "AmbiguousUri", "a control character in the target")
EMPTY_FIRST = DesyncRule(AMBIGUOUS, "MissingUri", "an empty line before the request line")
NO_URI = DesyncRule(AMBIGUOUS, "MissingUri", "no target", 400)
PARTIAL_LINE = DesyncRule(AMBIGUOUS, "PartialHeaderLine", "the last line has no end", 400)
NO_EMPTY_LINE = DesyncRule(AMBIGUOUS, "MissingLastEmptyLine", "no empty line ends the head", 400)

BAD_HEADER = DesyncRule(SEVERE, "BadHeader", "NUL, CR or LF inside a header", 400)
MORE = DesyncRule(SEVERE, "BadHeader", "the head goes on behind its empty line", 400)
BAD_URI = DesyncRule(SEVERE, "BadUri", "NUL or CR in the target", 400)
BAD_METHOD = DesyncRule(SEVERE, "BadMethod", "the method is not a token", 400)
BAD_VERSION = DesyncRule(SEVERE, "BadVersion", "a version that cannot be read", 400)
HIGHER_MAJOR = DesyncRule(
    SEVERE, "BadVersion", "HTTP/2 or higher in an HTTP/1 line", HIGHER_MAJOR_STATUS
)
OTHER_LENGTHS = DesyncRule(SEVERE, "MultipleContentLength", "Content-Lengths that differ", 400)
BAD_LENGTH = DesyncRule(SEVERE, "BadContentLength", "a Content-Length that is not a number", 400)
TWICE_CHUNKED = DesyncRule(SEVERE, "MultipleTransferEncodingChunked", "chunked more than once", 400)
BAD_CODING = DesyncRule(SEVERE, "BadTransferEncoding", "an unknown transfer coding", 400)

OTHER_CODING = DesyncRule(
    COMPLIANT, "", "a transfer coding other than one chunked", OTHER_CODING_STATUS
)
NO_HOST = DesyncRule(COMPLIANT, "", "HTTP/1.1 without Host", 400)
BAD_HOST = DesyncRule(COMPLIANT, "", "an invalid Host", 400)
TWO_HOSTS = DesyncRule(COMPLIANT, "", "more than one Host", TWO_HOSTS_STATUS)

BY_ENDING = {
    HeadEnd.PARTIAL_LINE: PARTIAL_LINE,
    HeadEnd.NO_EMPTY_LINE: NO_EMPTY_LINE,
    HeadEnd.MORE: MORE,
}
BY_ROLE = {
    Role.EMPTY: EMPTY_NAME,
    Role.LENGTH_LIKE: LOOK_ALIKE,
    Role.ENCODING_LIKE: LOOK_ALIKE,
    Role.FOLDED: FOLDED_LINE,
    Role.ODD: ODD_HEADER,
}
BY_FOLDED_ROLE = {
    Role.LENGTH: BAD_LENGTH,
    Role.ENCODING: BAD_CODING,
    Role.LENGTH_LIKE: BAD_LENGTH,
    Role.ENCODING_LIKE: BAD_CODING,
}
"""To unfold is to put a space there (RFC 9112 section 5.2), and no value that frames has one."""

Found = dict[DesyncRule, bytes]
"""The rules broken, in the order noted, each with the bytes that broke it first."""


def broken(raw: RawHead) -> Found:
    """Return every rule that a head breaks."""
    found: Found = {}
    if raw.version and not raw.version.startswith(("0.", "1.")):
        return {HIGHER_MAJOR: b""}  # what follows such a line has other rules
    if raw.has_bad_byte:
        return {BAD_HEADER: b""}  # nothing is worse, and nothing comes before it
    _note_structure(raw, found)
    _note_fields(raw.fields, found)
    _note_framing(raw, found)
    _note_line(raw, found)
    _note_hosts(raw, found)
    return found


def _note_structure(raw: RawHead, found: Found) -> None:
    if raw.has_bare_lf:
        found[BARE_LF] = b""
    if raw.has_empty_line:
        found[EMPTY_FIRST] = b""
    if raw.ending in BY_ENDING:
        found[BY_ENDING[raw.ending]] = b""


def _note_fields(fields: list[Field], found: Found) -> None:
    unfolded = None  # the role of the line that a folded one goes on with, as AWS finds it
    for name, value, role, colon in fields:
        is_folded = False
        if role or not colon:
            is_folded = name.startswith((b" ", b"\t"))
            _note_field(name, role, unfolded if is_folded else None, found, is_whole=bool(colon))
        if value.translate(None, FIELD_VALUE_BYTES):
            found.setdefault(ODD_HEADER, name)
        if colon and not is_folded:
            unfolded = role


def _note_field(
    name: bytes, role: Role | None, unfolded: Role | None, found: Found, *, is_whole: bool
) -> None:
    if role in BY_ROLE:
        found.setdefault(BY_ROLE[role], name)
    if unfolded in BY_FOLDED_ROLE:
        found.setdefault(BY_FOLDED_ROLE[unfolded], name)
    if not is_whole:
        found.setdefault(NO_COLON, name)


def _note_framing(raw: RawHead, found: Found) -> None:
    """Look-alikes frame nothing, but their values count against a head as AWS counts them."""
    codings = raw.values[Role.ENCODING] + raw.values[Role.ENCODING_LIKE]
    lengths = raw.values[Role.LENGTH] + raw.values[Role.LENGTH_LIKE]
    if codings:
        _note_codings(raw, codings, found)
    if lengths:
        _note_lengths(raw, lengths, found)
    if codings and lengths:
        found[BOTH] = b""


def _note_codings(raw: RawHead, values: list[bytes], found: Found) -> None:
    names = [_coding_name(item) for value in values for item in value.split(b",")]
    if raw.version in OLD_VERSIONS and raw.values[Role.ENCODING]:
        found[OLD_CODING] = b""
    elif raw.method in BODY_WITHOUT_MEANING or raw.version in OLD_VERSIONS or raw.is_tabbed:
        found[UNDEFINED_CODING] = b""
    if not CODINGS.issuperset(names):
        found.setdefault(BAD_CODING, b",".join(values))
    if names.count(b"chunked") > 1:
        found[TWICE_CHUNKED] = b""
    if coding(raw) not in {b"", b"identity", b"chunked"}:
        found[OTHER_CODING] = coding(raw)


def _coding_name(item: bytes) -> bytes:
    """Return an item of Transfer-Encoding without its parameters; names have no case."""
    return bare(item.partition(b";")[0]).lower()


def coding(raw: RawHead) -> bytes:
    """Return all of Transfer-Encoding as one value in lower case, parameters and all."""
    return bare(b",".join(raw.values[Role.ENCODING])).lower()


def _note_lengths(raw: RawHead, values: list[bytes], found: Found) -> None:
    numbers = [number(value) for value in values]
    if None in numbers:
        found.setdefault(BAD_LENGTH, values[numbers.index(None)])
    elif len(set(numbers)) > 1:
        found[OTHER_LENGTHS] = b""
    elif len(numbers) > 1:
        found[EQUAL_LENGTHS] = b""
    if (
        raw.version == "0.9"
        or raw.is_tabbed
        or (raw.method in BODY_WITHOUT_MEANING and any(numbers))
    ):
        found[UNDEFINED_LENGTH] = b""
    elif raw.method in BODY_WITHOUT_MEANING:
        found[ZERO_LENGTH] = b""


def number(value: bytes) -> int | None:
    """Return what a Content-Length says, 1*DIGIT (RFC 9110 section 8.6), or None."""
    digits = bare(value)
    significant = digits.lstrip(b"0")
    if not digits.isdigit() or len(significant) > LENGTH_DIGITS:
        return None
    length = int(significant or b"0")
    return length if length < LENGTH_END else None


def bare(value: bytes) -> bytes:
    """Return a value without the white space around it (RFC 9110 section 5.6.3)."""
    return value.strip(b" \t")


def _note_line(raw: RawHead, found: Found) -> None:
    if not TOKEN.fullmatch(raw.method):
        found[BAD_METHOD] = raw.method
    if not raw.version:
        found[BAD_VERSION] = b""
    elif raw.version == "0.9":
        found[NO_VERSION] = b""
    elif raw.is_spaced or raw.version not in {"1.0", "1.1"}:
        found[ODD_VERSION] = raw.version.encode()
    if raw.target is None:
        found[NO_URI] = b""
    else:
        _note_target(raw.target, found)


def _note_target(target: bytes, found: Found) -> None:
    odd = target.translate(None, TARGET_BYTES)
    if b"\0" in odd or b"\r" in odd:
        found[BAD_URI] = target
    elif odd.strip(b" "):
        found[CONTROL_IN_URI] = target
    elif odd:
        found[SPACE_IN_URI] = target


def _note_hosts(raw: RawHead, found: Found) -> None:
    """An absolute target is a Host, too (RFC 9112 section 3.2.2; alb.md 1.7)."""
    hosts = raw.values[Role.HOST]
    if len(hosts) > 1:
        found[TWO_HOSTS] = b""
    if not hosts and raw.version not in OLD_VERSIONS:
        found[NO_HOST] = b""
    target = raw.target or b""
    absolute = not target.startswith(b"/") and b"://" in target
    for host in [*hosts, authority(target)] if absolute else hosts:
        if not is_host(host):
            found.setdefault(BAD_HOST, host)


@lru_cache(maxsize=256)  # strangers choose the keys, up to 16 KB each: 4 MB at worst
def is_host(value: bytes) -> bool:
    """Say whether a value is allowed in Host."""
    return HOST.fullmatch(bare(value)) is not None

"""Whether a request head may be passed on: its desync tier and reason, and how its body is framed.

Strategy: the head is read as tolerantly as any peer may have read it (desync_head.py) and
checked against every rule (desync_rules.py). The worst tier decides, the first rule among equals
gives the reason, and the lowest status of a broken rule refuses whatever the mode. What may pass
has exactly one framing, and `Judgement.head` says it so that no parser can disagree. That head is
for framing alone: a space in the target, a custom method or an odd byte in a name cannot be said
strictly, so what the event gets is kept beside it as it was received.

The good path needs none of this: where `is_plain` and `has_plain_fields` hold and llhttp accepts,
`judge` would say Compliant with llhttp's framing (proved in tests/core/test_desync.py).
"""

import re
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from gateway.core.desync_head import TOKEN, RawHead, Role, read_head, role_of
from gateway.core.desync_rules import (
    BODY_WITHOUT_MEANING,
    FIELD_VALUE_BYTES,
    LENGTH_DIGITS,
    DesyncRule,
    Found,
    Tier,
    bare,
    broken,
    coding,
    is_host,
    number,
)
from gateway.core.http import Headers

__all__ = ["CHUNKED", "REFUSAL_STATUS", "Judgement", "Mode", "Ruling", "Tier", "has_plain_fields"]
__all__ += ["is_plain", "judge", "ruling"]

CHUNKED = -1
"""The length of a body that tells its end itself."""

REFUSAL_STATUS = 400
"""For a head that only the mode refuses (alb.md 4.9)."""

STRICT_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
"""What every parser knows: llhttp refuses custom methods, and reads no body after CONNECT."""

STRICT_TARGET = re.compile(rb"/[!-~]*+|\*")

STRICT_HEAD = re.compile(
    rb"(?:\r\n)*+(?:%b) (?:%b) HTTP/1\.[01]\r\n(?:%b:[\t -~\x80-\xff]*+\r\n)*+\r\n"
    % (b"|".join(STRICT_METHODS), STRICT_TARGET.pattern, TOKEN.pattern)
)
"""A head that every parser takes (RFC 9112 sections 3 and 5), its framing aside."""

PLAIN_VERSIONS = (b"HTTP/1.1\r\n", b"HTTP/1.0\r\n")
PARSED_VERSIONS = frozenset({"1.1", "1.0"})

HOST, LENGTH, ENCODING = Role.HOST, Role.LENGTH, Role.ENCODING  # looked up in 0.1 us each
SAYABLE = frozenset({None, HOST})

NOTHING = DesyncRule(Tier.COMPLIANT, "", "")
TIERS = tuple(Tier)


class Mode(StrEnum):
    """The values of `routing.http.desync_mitigation_mode`."""

    MONITOR = "monitor"
    DEFENSIVE = "defensive"
    STRICTEST = "strictest"


class Ruling(Enum):
    """What becomes of a request; after everything but PASS the connection closes."""

    PASS = auto()
    PASS_AND_CLOSE = auto()
    REFUSE = auto()


RULINGS = {
    Tier.COMPLIANT: (Ruling.PASS, Ruling.PASS, Ruling.PASS),
    Tier.ACCEPTABLE: (Ruling.PASS, Ruling.PASS, Ruling.REFUSE),
    Tier.AMBIGUOUS: (Ruling.PASS_AND_CLOSE, Ruling.PASS_AND_CLOSE, Ruling.REFUSE),
    Tier.SEVERE: (Ruling.REFUSE, Ruling.REFUSE, Ruling.REFUSE),
}
"""In the order of Mode. ALB's monitor passes Severe; what cannot be framed is never passed here."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A head judged, and what it says as it was received."""

    tier: Tier
    reason: str
    """AWS's word (alb.md 4.9), empty when compliant."""
    status: int
    """Refuse with it whatever the mode; 0 where the mode decides."""
    detail: str
    """One printable line for operators, empty when there is nothing to say."""
    head: bytes
    """For a strict parser to frame the body by; the bytes judged where nothing had to change."""
    length: int
    """The size of the body, or CHUNKED."""
    method: str
    target: bytes
    """Spaces and control characters inside are kept; empty where the head has no target."""
    version: str
    """`1.0` to `1.9`; `0.9` where the line has none, empty where it cannot be read."""
    headers: Headers
    """What the event gets: no nameless lines, one Content-Length, none beside `chunked`."""

    @property
    def classification(self) -> str:
        """Tier and reason as `HttpRequest` carries them."""
        return f"{self.tier} {self.reason}" if self.reason else ""


def ruling(judgement: Judgement, mode: Mode) -> Ruling:
    """Return what a mode makes of a judgement; without a status to refuse with, it is
    REFUSAL_STATUS."""
    if judgement.status:
        return Ruling.REFUSE
    return dict(zip(Mode, RULINGS[judgement.tier], strict=True))[mode]


def judge(head: bytes) -> Judgement:
    """Judge a head, from its first byte (empty lines may lead) to the empty line that ends it.

    A head that is not complete, or goes on behind its end, is refused.
    """
    raw = read_head(head)
    found = broken(raw)
    status = min((rule.status for rule in found if rule.status), default=0)
    worst = max(found, key=lambda rule: TIERS.index(rule.tier), default=NOTHING)
    length = _length(raw)
    headers = _event_headers(raw, length)
    return Judgement(
        worst.tier,
        worst.reason,
        status,
        _detail(found, status, worst),
        head if status or _is_strict(head, raw) else _strict_head(raw, headers, length),
        length,
        raw.method.decode("latin-1"),
        raw.target or b"",
        raw.version,
        headers,
    )


def _detail(found: Found, status: int, worst: DesyncRule) -> str:
    """Say what was wrong: what it is refused for, else what gave the reason."""
    cause = next((rule for rule in found if status and rule.status == status), worst)
    part = found.get(cause, b"")[:80].decode("latin-1")
    return f"{cause.words}: {part!a}" if part else cause.words


def _length(raw: RawHead) -> int:
    """Return the framing: `chunked` before Content-Length (RFC 9112 section 6.3)."""
    if coding(raw) == b"chunked":
        return CHUNKED
    lengths = raw.values[LENGTH]
    return (number(lengths[0]) or 0) if lengths else 0


def _event_headers(raw: RawHead, length: int) -> Headers:
    headers = []
    wants_length = length != CHUNKED
    for name, value, role, _ in raw.fields:
        if role is Role.EMPTY or (role is LENGTH and not wants_length):
            continue
        wants_length = wants_length and role is not LENGTH
        headers.append((name, bare(value)))
    return headers


def _is_strict(head: bytes, raw: RawHead) -> bool:
    """Say whether every parser takes these bytes and frames the body as we do.

    llhttp refuses a tab behind `chunked`, and reads no body after Upgrade.
    """
    codings = [value.lstrip(b" \t").lower() for value in raw.values[ENCODING]]
    return (
        not raw.values[Role.UPGRADE]
        and len(codings + raw.values[LENGTH]) <= 1
        and codings in ([], [b"chunked"])
        and STRICT_HEAD.fullmatch(head) is not None
    )


def _strict_head(raw: RawHead, headers: Headers, length: int) -> bytes:
    """Say the same strictly; what cannot be said is left out or replaced."""
    target = raw.target or b""
    line = b"%b %b HTTP/%b" % (
        raw.method if raw.method in STRICT_METHODS else b"POST",
        target if STRICT_TARGET.fullmatch(target) else b"/",
        b"1.0" if raw.version == "1.0" else b"1.1",
    )
    lines = [name + b": " + value for name, value in headers if _is_sayable(name, value)]
    if length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    elif length:
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join([line, *lines, b"", b""])


def _is_sayable(name: bytes, value: bytes) -> bool:
    """Say whether a header is strict, and neither frames nor asks a parser for anything."""
    return role_of(name) in SAYABLE and not value.translate(None, FIELD_VALUE_BYTES)


def is_plain(head: bytes) -> bool:
    """Say whether the request line is `METHOD /target HTTP/1.x`, spaced as it should be.

    llhttp also takes stray spaces, CR and LF before the line, RTSP and ICE.
    """
    parts = head.split(b" ", 2)
    return (
        len(parts) == 3
        and parts[2].startswith(PLAIN_VERSIONS)
        and parts[1].startswith(b"/")
        and parts[0].isalpha()  # M-SEARCH may ask judge()
    )


def has_plain_fields(method: bytes, version: str, headers: Headers) -> bool:
    """Say whether there is nothing to judge in what a strict parser read from a plain head.

    llhttp also takes lines without version (as 0.9), HTTP/2.0, any number of Hosts with anything in
    them, lengths up to 2^64, `gzip, chunked`, look-alikes, and bodies where they mean nothing. And
    it leaves white space behind values, which is the caller's to strip.
    """
    roles: dict[Role, bytes] = {}
    for name, value in headers:
        role = role_of(name)
        if role:
            if role in roles:
                return False
            roles[role] = value
    if version not in PARSED_VERSIONS or not is_host(roles.pop(HOST, b"")):
        return False
    return not roles or (method not in BODY_WITHOUT_MEANING and _frames_plainly(version, roles))


def _frames_plainly(version: str, roles: dict[Role, bytes]) -> bool:
    """Say whether the headers with a role, Host aside, are one and frame as they should."""
    (role, value), *others = roles.items()
    if others:
        return False
    if role is LENGTH:
        return value.isdigit() and len(value) < LENGTH_DIGITS
    return role is ENCODING and version == "1.1" and value.lower() == b"chunked"

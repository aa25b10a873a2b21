"""Which rule of a listener a request meets: conditions compare, the first by priority wins (alb.md
4.2).

One condition is built, `path-pattern`.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from gateway.core.errors import InvalidSetting

PRIORITIES = range(1, 50_001)

PATTERN = re.compile(r"[A-Za-z0-9_\-.$/~\"'@:+&*?%]{1,128}")
"""AWS's characters, and the percent sign, which non-ASCII patterns need (alb.md 4.2)."""

MOST_VALUES = 5
"""Values of a rule (alb.md 4.2)."""

MOST_WILDCARDS = 6
"""Of a rule: the newer of AWS's two numbers (alb.md 4.2)."""

UNRESERVED = re.compile(rb"%(?:2[de]|3[0-9]|[46][1-9a-f]|[57][0-9a]|5f|7e)", re.IGNORECASE)
"""Percent forms of letters, digits and `-._~` (RFC 3986 2.3)."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """The condition `path-pattern`: one of the patterns matches the whole path, case counts."""

    values: tuple[str, ...]

    def check(self) -> None:
        """Raise InvalidSetting for values that AWS refuses."""
        if not 1 <= len(self.values) <= MOST_VALUES:
            raise InvalidSetting(f"a rule has 1 to {MOST_VALUES} path patterns")
        if sum(value.count("*") + value.count("?") for value in self.values) > MOST_WILDCARDS:
            raise InvalidSetting(f"a rule has up to {MOST_WILDCARDS} wildcards, * and ?")
        for value in self.values:
            if not PATTERN.fullmatch(value):
                raise InvalidSetting(
                    f"path pattern {value!r} is not valid; it needs 1 to 128 of the characters "
                    "that ALB allows, other ones in percent form"
                )

    def compiled(self) -> re.Pattern[bytes]:
        """Return one expression for all values; `*` and `?` are wildcards."""
        return re.compile("|".join(map(_expression, self.values)).encode(), re.DOTALL)


def _expression(value: str) -> str:
    """Return the expression of a pattern. What follows a wildcard is taken where it is found first
    and not looked for again, so the time does not grow with a power of the path's length."""
    first, *others = map(_fixed, value.split("*"))
    if not others:
        return first
    *inner, last = others
    return f"{first}{''.join(f'(?>.*?{part})' for part in inner)}.*{last}"


def _fixed(part: str) -> str:
    return re.escape(part).replace(r"\?", ".")


def check_priority(priority: int) -> None:
    """Raise InvalidSetting for a priority that AWS refuses."""
    if priority not in PRIORITIES:
        raise InvalidSetting(f"rule priority {priority} is not between 1 and 50000")


def normalised(path: bytes) -> bytes:
    """Return a path as conditions see it: unreserved characters decoded, dot segments removed,
    repeated slashes kept (alb.md 4.2, inferred)."""
    if b"%" in path:
        path = UNRESERVED.sub(lambda found: unquote_to_bytes(found[0]), path)
    return _without_dot_segments(path) if b"/." in path else path


def _without_dot_segments(path: bytes) -> bytes:
    """Return a path as RFC 3986 5.2.4 has it."""
    kept = list[bytes]()
    segments = path.split(b"/")
    for segment in segments:
        if segment == b"..":
            if len(kept) > 1:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in {b".", b".."}:
        kept.append(b"")
    return b"/".join(kept)

"""P15: a handler cannot write to the wire: in a soak 10,000 random header maps on each front.

All are answered on one connection, so that a byte too much, or one too few, breaks the next
response.
"""

import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from tests.e2e.serving import IN_PROCESS
from tests.promises.conftest import Report, Serve
from tests.promises.puppet import APPS, OWN, PAGE, RESPONSE, asking, assert_goes_on, name_of_front
from tests.promises.wire import Response, Wire
from tests.soaking import IS_SOAK

pytestmark = pytest.mark.slow

MAPS = 5000 if IS_SOAK else 1000

Pair = tuple[str, str]
Lines = Counter[tuple[bytes, bytes]]

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
NOT_HONOURED = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""alb.md 2.3."""

FRAMING = sorted(NOT_HONOURED)

NAMES = ["X-A", "x-b", "Set-Cookie", "Content-Type", "Server", "Date", "Via", "X_C", "Location"]
LETTERS = "abcXYZ019 \t,;:=\"'()<>[]{}|\\/~\u00e4\u20ac\U0001f600\u0085\u2028\ufeff\u200b"
EVIL = ["\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1b", "\x7f", "\ud800", "\r\n\r\n" + RESPONSE]
EVIL_NAMES = ["", " ", "X A", "X:", "X\r\n", "X\n", "\u00c4", "X\0", "X-A:1\r\nX", "(", "\x7f"]


def random_value(random: Random) -> str:
    value = "".join(random.choices(LETTERS, k=random.choice([0, 1, 5, 20, 200])))
    if random.random() < 0.08:
        at = random.randrange(len(value) + 1)
        value = value[:at] + random.choice(EVIL) + value[at:]
    return value


def random_name(random: Random) -> str:
    kind = random.random()
    if kind < 0.04:
        return random.choice(EVIL_NAMES)
    if kind < 0.2:
        return "".join(random.choice([str.upper, str.lower])(c) for c in random.choice(FRAMING))
    return random.choice(NAMES)


def random_pairs(random: Random, *, is_multi: bool) -> list[Pair]:
    """Return header names, each spelled once, with a value, or with up to three."""
    names = sorted({random_name(random) for _ in range(random.randrange(9))})
    each = [name for name in names for _ in range(random.randrange(1, 4) if is_multi else 1)]
    return [(name, random_value(random)) for name in each]


def is_refused(pairs: list[Pair]) -> bool:
    return any(not TOKEN.fullmatch(name) or CONTROL.search(value) for name, value in pairs)


def expected_lines(pairs: list[Pair], body: bytes) -> Lines:
    """Return the header lines that a response must have, the Date's value aside."""
    lines = [(name, value) for name, value in pairs if name.lower() not in NOT_HONOURED]
    given = {name.lower() for name, _ in lines}
    defaults = {
        "Server": "awselb/2.0",
        "Content-Type": "application/octet-stream",
        "Date": "",
    }
    lines += [(name, value) for name, value in defaults.items() if name.lower() not in given]
    lines += [("Content-Length", str(len(body))), ("Connection", "keep-alive")]
    if "server" in given:  # only one, the last
        last = [pair for pair in lines if pair[0].lower() == "server"][-1]
        lines = [pair for pair in lines if pair[0].lower() != "server"] + [last]
    return Counter((name.encode(), value.encode()) for name, value in lines)


def seen_lines(response: Response, *, has_own_date: bool) -> Lines:
    return Counter(
        (name, b"" if name.lower() == b"date" and not has_own_date else value)
        for name, value in response.headers
    )


def in_lower_case(lines: Lines) -> Lines:
    return Counter((name.lower(), value) for name, value in lines.elements())


@pytest.mark.parametrize("is_multi", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("front", IN_PROCESS, ids=name_of_front)
def test_random_header_maps(serve: Serve, front: list[str], is_multi: bool, report: Report) -> None:
    options = ["--multi-value-headers"] if is_multi else []
    server = serve("puppet.handler", "--quiet", *front, *options, code=APPS)
    random = Random(15 + is_multi)
    outcomes = Counter[str]()

    with Wire(server) as wire:
        for number in range(MAPS):
            pairs = random_pairs(random, is_multi=is_multi)
            body = f"body {number}"
            response = wire.ask(asking(mapped(pairs, body, is_multi=is_multi)))
            assert wire.pending() == b"", pairs
            outcomes[str(response.status)] += 1
            check(response, pairs, body.encode(), keeps_case="uvicorn" not in front)
            if number % 100 == 0:
                assert_goes_on(wire)
        assert_goes_on(wire)

    assert min(outcomes.values()) > MAPS // 5
    report(
        f"P15 {MAPS} random header maps on one connection, {'multi' if is_multi else 'single'}-"
        f"value, {name_of_front(front)} front: {dict(outcomes)}, 0 bytes injected"
    )


def mapped(pairs: list[Pair], body: str, *, is_multi: bool) -> dict[str, Any]:
    if is_multi:
        values = {name: [value for key, value in pairs if key == name] for name, _ in pairs}
        return {"statusCode": 200, "multiValueHeaders": values, "body": body}
    return {"statusCode": 200, "headers": dict(pairs), "body": body}


def check(response: Response, pairs: list[Pair], body: bytes, *, keeps_case: bool) -> None:
    """A response is the page or has exactly the lines it should have; ASGI's names are in lower
    case."""
    if is_refused(pairs):
        assert (response.status, response.body) == (502, PAGE), pairs
        assert {name.lower() for name, _ in response.headers} == OWN, pairs
        return
    has_own_date = "date" in {name.lower() for name, _ in pairs}
    assert (response.status, response.body) == (200, body), pairs
    seen = seen_lines(response, has_own_date=has_own_date)
    expected = expected_lines(pairs, body)
    assert seen == (expected if keeps_case else in_lower_case(expected)), pairs

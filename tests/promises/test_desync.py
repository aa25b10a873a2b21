"""P11: no request is smuggled: every head with a canary pipelined behind it, over real sockets.

What is expected is in a table and in the case files, not in the code under test: a head
that passes is followed by its body and the canary is answered, after a head that passes once it
is not, and behind a head that is refused neither a body nor the canary is read.
"""

import base64
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core.desync import CHUNKED, Mode, Ruling, judge, ruling
from tests.core.test_desync import NEVER_PASSED, raw_head, suite
from tests.desync import MATRIX, TABLE
from tests.e2e.serving import Server
from tests.promises.conftest import Report, Serve
from tests.promises.wire import CANARY, Response, Wire, all_parsed, parsed
from tests.soaking import IS_SOAK

pytestmark = pytest.mark.slow

BY_TIER = {
    "Compliant": (Ruling.PASS, Ruling.PASS, Ruling.PASS),
    "Acceptable": (Ruling.PASS, Ruling.PASS, Ruling.REFUSE),
    "Ambiguous": (Ruling.PASS_AND_CLOSE, Ruling.PASS_AND_CLOSE, Ruling.REFUSE),
    "Severe": (Ruling.REFUSE, Ruling.REFUSE, Ruling.REFUSE),
}
"""Issue 3's table, in the order of Mode."""

SAMPLE = MATRIX if IS_SOAK else MATRIX[::7]
"""The matrix repeats itself every 86 heads: a seventh has of everything."""

END = re.compile(rb"\n\r?\n")
LOG_FIELD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')


@dataclass(frozen=True)
class Outcome:
    """What a client saw of a head, a body and a canary."""

    responses: list[Response]

    @property
    def first(self) -> Response:
        return self.responses[0]

    @property
    def answers_canary(self) -> bool:
        return len(self.responses) > 1

    def broken(self, head: bytes, expected: Ruling, status: int) -> str:
        """Say what is not as it should be, in a few words."""
        if expected is not Ruling.REFUSE and not is_sayable(head):
            expected = Ruling.REFUSE
        closes = expected is not Ruling.PASS or is_http_1_0(head)
        if self.first.closes != closes:
            return f"{'keeps' if closes else 'closes'} the connection"
        if self.answers_canary == closes:
            return "answers the canary" if closes else "does not answer the canary"
        if expected is Ruling.REFUSE and self.first.status != (status or 400):
            return f"answers {self.first.status}, not {status or 400}"
        if expected is not Ruling.REFUSE and self.first.status in {400, 408, 501, 505}:
            return f"refuses with {self.first.status}"
        return ""


def sent(server: Server, head: bytes, body: bytes) -> Outcome:
    """Send a head, its body and the canary on one connection."""
    with Wire(server) as wire:
        wire.send(head + body + CANARY)
        data = wire.rest()
    first, rest = parsed(data, is_head=head.startswith(b"HEAD "))
    return Outcome([first, *all_parsed(rest)])


def body_of(framing: int | None) -> bytes:
    """Return a body that its framing ends."""
    return b"5\r\nhello\r\n0\r\n\r\n" if framing == CHUNKED else b"x" * (framing or 0)


def framing_of(head: bytes) -> int:
    """Read a framing as RFC 9112 section 6.3 has it, for heads that may pass."""
    lines = [line.partition(b":") for line in re.split(rb"\r?\n", head)[1:]]
    values = {name.lower(): value.strip(b" \t").lower() for name, _, value in lines}
    if values.get(b"transfer-encoding") == b"chunked":
        return CHUNKED
    return int(values.get(b"content-length", b"0"))


def mode_option(mode: Mode) -> str:
    return f"routing.http.desync_mitigation_mode={mode}"


def is_sayable(head: bytes) -> bool:
    """Say whether an event can hold a head: what is not UTF-8 gets 400 from the codec, and the
    connection closes (alb.md 1.6, LambdaBadRequest)."""
    try:
        head.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_http_1_0(head: bytes) -> bool:
    return b" HTTP/1.0" in head.lstrip(b"\r\n").split(b"\n")[0]


@pytest.mark.parametrize("mode", Mode)
def test_every_aws_case(serve: Serve, tmp_path: Path, mode: Mode, report: Report) -> None:
    log = tmp_path / "access.log"
    server = serve("echo.handler", "--attribute", mode_option(mode), "--access-log", str(log))
    outcomes, broken = Counter[str](), []

    for name, case in suite():
        head = raw_head(case, "utf-8")
        status = NEVER_PASSED.get(name, 0)
        expected = BY_TIER[case["expected"]["tier"]][list(Mode).index(mode)]
        expected = Ruling.REFUSE if status else expected
        body = b"" if expected is Ruling.REFUSE else body_of(framing_of(head))
        outcome = sent(server, head, body)
        outcomes[f"{case['expected']['tier']} {expected.name}"] += 1
        if problem := outcome.broken(head, expected, status):
            broken.append(f"{name}: {problem}")

    assert broken == []
    server.stop()
    assert logged_classes(log) == [
        (tier, reason) if tier != "Compliant" else ("-", "-")
        for _, case in suite()
        for tier, reason in [(case["expected"]["tier"], case["expected"]["reason"])]
    ]
    report(f"P11 AWS cases, {mode}: {dict(sorted(outcomes.items()))}, 0 canaries after a refusal")


def logged_classes(log: Path) -> list[tuple[str, str]]:
    """Return class and reason of every line of the access log that is not the canary's."""
    rows = [LOG_FIELD.findall(line) for line in log.read_text().splitlines()]
    return [(row[27].strip('"'), row[28].strip('"')) for row in rows if "/canary " not in row[12]]


def on_a_wire(head: bytes) -> bool:
    """Say whether a head is one on a connection, too: it begins and ends where it ends."""
    lines = head.lstrip(b"\r\n")
    found = END.search(lines)
    return found is not None and found.end() == len(lines)


@pytest.mark.parametrize("mode", Mode)
def test_every_row_of_the_issue(serve: Serve, mode: Mode, report: Report) -> None:
    server = serve("echo.handler", "--attribute", mode_option(mode))
    heads = [head for head in TABLE if on_a_wire(head) and b"%d" % (2**63 - 1) not in head]
    broken = []

    for head in heads:
        _, status, rulings = TABLE[head]
        expected = rulings[list(Mode).index(mode)]
        body = b"" if expected is Ruling.REFUSE else body_of(framing_of(head))
        outcome = sent(server, head, body)
        if problem := outcome.broken(head, expected, status):
            broken.append(f"{head!a}: {problem}")

    assert broken == []
    report(f"P11 rows of issue 3, {mode}: {len(heads)} as the table has them")


@pytest.mark.parametrize("mode", [Mode.DEFENSIVE, Mode.STRICTEST])
def test_matrix_of_framing_lines(serve: Serve, mode: Mode, report: Report) -> None:
    server = serve("echo.handler", "--attribute", mode_option(mode), "--quiet")
    outcomes, broken = Counter[str](), []

    for head, framing in SAMPLE:
        judgement = judge(head)
        expected = ruling(judgement, mode)
        body = body_of(framing)
        outcome = sent(server, head, body)
        outcomes[expected.name] += 1
        problem = outcome.broken(head, expected, judgement.status)
        if not problem and expected is not Ruling.REFUSE and is_sayable(head):
            problem = misread(outcome.first, head, framing)
        if problem:
            broken.append(f"{head!a}: {problem}")

    assert broken == []
    assert len(MATRIX) > 2000
    report(f"P11 matrix, {mode}: {len(SAMPLE)} heads: {dict(outcomes)}, 0 canaries after a refusal")


def misread(response: Response, head: bytes, framing: int | None) -> str:
    """Say what is wrong with the body that the handler got, or with the head that passed at all."""
    if framing is None:
        return "passes, and its framing is ambiguous"
    if head.startswith(b"HEAD "):
        return ""
    event = json.loads(response.body)
    got = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    wanted = b"hello" if framing == CHUNKED else b"x" * framing
    return "" if got == wanted else f"its body is {got!r}"


# Bodies in chunks

CHUNKED_HEAD = (
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n"
)
ENDED = b"\r\nhello\r\n0\r\n\r\n"

HELLO = [
    b"5" + ENDED,
    b"005" + ENDED,
    b"5;a=b" + ENDED,
    b"5;a" + ENDED,
    b"1\r\nh\r\n4;x\r\nello\r\n000\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX-Forwarded-For: 10.0.0.1\r\nHost: b\r\n\r\n",
]
"""Says `hello` to every caller."""

SMUGGLED = [
    *(
        size + ENDED
        for size in (b"0x5", b"+5", b"-5", b" 5", b"5 ", b"5\t", b"5,5", b"g", b"", b";")
    ),
    *(size + ENDED for size in (b"F" * 17, b"1" + b"0" * 15 + b"5", "\uff15".encode(), b"\r\n5")),
    *(size + ENDED for size in (b"5;\n", b"5;a\nb", b"5;\x00", b"5;a\rb", b'5;a="b\r\nc"', b"\n5")),
    b"5\nhello\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r\n\r\n0\r\n\r\n",
    b"5\r\nhello\r\n-0\r\n\r\n",
    b"5\r\nhello\r\n0\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\n\n",
    b"5\r\nhello\r\n0\r\nX: y\n\n",
    b"5\r\nhello\r\n0\r\nX y\r\n\r\n",
    b"5\r\nhello\r\n0\r\n: y\r\n\r\n",
    b"5\r\nhello\r\n0\r\n X\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
    b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
]
"""Says something else to one caller."""


@pytest.fixture(scope="module")
def echo(shared: Serve) -> Server:
    return shared("echo.handler")


@pytest.mark.parametrize("body", HELLO, ids=ascii)
def test_chunks_are_undone_and_trailers_are_not_passed_on(echo: Server, body: bytes) -> None:
    outcome = sent(echo, CHUNKED_HEAD, body)

    event = json.loads(outcome.first.body)
    assert event["body"] == "hello"
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert "x" not in event["headers"]
    assert outcome.answers_canary


@pytest.mark.parametrize("body", SMUGGLED, ids=ascii)
def test_chunks_that_other_parsers_read_otherwise_are_refused(echo: Server, body: bytes) -> None:
    outcome = sent(echo, CHUNKED_HEAD, body)

    assert outcome.first.status == 400
    assert outcome.first.closes
    assert not outcome.answers_canary

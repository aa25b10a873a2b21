"""P12, small form: where we accept a head, we do not frame it otherwise than two strict parsers
do.

The parsers are h11 and httptools in this process, and nginx, HAProxy and Go as the system has them.
After each head comes a body that tells the framings apart: a chunk of five bytes, whose own
bytes are what a length would count.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from gateway.core.desync import CHUNKED, Mode, Ruling, judge, ruling
from tests.desync import MATRIX, framed_by_h11, framed_by_httptools, head_of
from tests.promises.conftest import Report
from tests.promises.peers import PEERS, Framing, framed_by, installed, peer, upstream
from tests.soaking import IS_SOAK

SAMPLE = 1 if IS_SOAK else 7
"""One head of this many in the matrix; it repeats itself every 86."""

DATA = b"abcde"
BODY = b"%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(installed, PEERS)),
        reason=f"{' or '.join(PEERS)} is missing: make tools installs them",
    ),
]


def seen(length: int | None) -> Framing:
    """Return the body that a framing gives."""
    return None if length is None else DATA if length == CHUNKED else BODY[:length]


def ours(head: bytes) -> Framing:
    """Return our framing; tests/promises/test_desync.py shows that it is the same on a wire."""
    judgement = judge(head)
    return None if ruling(judgement, Mode.DEFENSIVE) is Ruling.REFUSE else seen(judgement.length)


@contextmanager
def parsers(directory: Path) -> Iterator[dict[str, Callable[[bytes], Framing]]]:
    with ExitStack() as stack:
        port = stack.enter_context(upstream())
        ports = {name: stack.enter_context(peer(name, directory, port)) for name in PEERS}
        yield {
            "h11": lambda head: seen(framed_by_h11(head)),
            "httptools": lambda head: seen(framed_by_httptools(head)),
            **{name: partial(framed_by, ports[name], body=BODY) for name in PEERS},
        }


def test_no_two_strict_parsers_frame_otherwise_what_we_accept(
    tmp_path: Path, report: Report
) -> None:
    heads = [head for head, _ in MATRIX[::SAMPLE]]
    accepted, differing = Counter[str](), Counter[str]()
    broken = []

    with parsers(tmp_path) as others:
        for head in heads:
            own = ours(head)
            framings = {name: framing(head) for name, framing in others.items()}
            accepted.update(name for name, framing in framings.items() if framing is not None)
            accepted["we"] += own is not None
            different = [
                name
                for name, framing in framings.items()
                if own is not None and framing is not None and framing != own
            ]
            differing.update(different)
            if len(different) >= 2:
                broken.append(f"{head!a}: we {own!a}, {framings}")

    assert broken == []
    report(
        f"P12 of {len(heads)} heads accepted: {dict(accepted)}; framed otherwise than we do, where "
        f"we accept: {dict(differing) or 0}, by two or more parsers together: {len(broken)}"
    )


VERSIONS = (b"1.0", b"1.1", b"1.2")
CODINGS = (
    b"chunked",
    b"Chunked",
    b"identity",
    b"gzip",
    b"gzip, chunked",
    b"chunked, identity",
    b"",
)
NEIGHBOURS = (
    [],
    [b"Content-Length: 5"],
    [b"Connection: keep-alive"],
    [b"Connection: close"],
    [b"Connection: upgrade", b"Upgrade: websocket"],
    [b"TE: trailers"],
    [b"Transfer-Encoding: chunked"],
    [b"Expect: 100-continue"],
)


def transfer_heads() -> Iterator[bytes]:
    """Yield heads with Transfer-Encoding in every version, beside what could change its meaning."""
    for version, coding, lines in product(VERSIONS, CODINGS, NEIGHBOURS):
        own = b"Transfer-Encoding: " + coding
        for fields in ([own, *lines], [*lines, own]):
            yield head_of(b"POST /a HTTP/" + version, b"Host: a", *fields)


def test_no_strict_parser_frames_a_transfer_coding_otherwise(
    tmp_path: Path, report: Report
) -> None:
    """Not even one of them: this is what requests are smuggled with."""
    heads = list(dict.fromkeys(transfer_heads()))
    broken = []

    with parsers(tmp_path) as others:
        for head in heads:
            own = ours(head)
            assert own is None or not head.startswith(b"POST /a HTTP/1.0"), head
            framings = {name: framing(head) for name, framing in others.items()}
            if own is not None and set(framings.values()) - {None, own}:
                broken.append(f"{head!a}: we {own!a}, {framings}")

    assert broken == []
    report(f"P12 of {len(heads)} heads with a transfer coding: {len(broken)} framed otherwise")

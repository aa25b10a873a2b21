"""Byte streams as strangers send them, for Hypothesis: requests, bad ones, and what is neither."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import strategies as st

from gateway.core import limits
from gateway.core.desync import Mode
from gateway.core.limits import Limits
from gateway.web import h1_body
from tests.web.peer import World
from tests.web.transport import Peer

SMALL = Limits(
    line_bytes=80,
    head_bytes=200,
    pipelined_bytes=90,
    linger_bytes=400,
)

BODY_LIMIT = 60
OVERHEAD = 40
STEP = 16


@contextmanager
def small_bodies() -> Iterator[None]:
    """Have the limits of bodies, which have no setting, within the reach of short streams."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(h1_body, "REQUEST_BODY_LIMIT", BODY_LIMIT)
        patch.setattr(h1_body, "CHUNKED_STEP", STEP)
        patch.setattr(limits, "CHUNKED_OVERHEAD_BYTES", OVERHEAD)
        yield


ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\r\n"])
METHODS = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"CONNECT", b"X-y", b"(", b""]
)
TARGETS = st.sampled_from(
    [b"/", b"/a?b", b"*", b"", b"a", b"http://b/c", b"//", b"/a b", b"/\x00", b"/#", 70 * b"/"]
)
VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"x", b""]
)
FIELDS = st.sampled_from(
    [
        b"Host: a",
        b"Host:",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Content-Length: 61",
        b"Content-Length: 05",
        b"Content-Length: x",
        b"Content-Length : 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked \t",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: upgrade",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"User-Agent: Chrome/1",
        b" folded",
        b": nameless",
        b"no colon",
        b"X: \x00",
        b"X: \x01",
        b"X:" + 60 * b"y",
        b"X:" + 90 * b"y",
    ]
)
PLAIN = st.sampled_from(
    [
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT /a HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n"
        b"Content-Length: 1\r\n\r\n!",
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: a\n\n",
        b"\r\n",
        b"\n",
    ]
)
CHUNKS = st.sampled_from(
    [
        b"5\r\nhello\r\n",
        b"4\r\n\r\n\r\n\r\n",
        b"1\r\nx\r\n",
        b"1;" + 30 * b"a" + b"\r\nx\r\n",
        b"3d\r\n" + 61 * b"x" + b"\r\n",
        b"3c\r\n" + 60 * b"x" + b"\r\n",
        b"14\r\n" + 20 * b"x" + b"\r\n",
        b"0\r\n\r\n",
        b"0\r\nA: b\r\nC:" + 30 * b"d" + b"\r\n\r\n",
        b"0\r\nA: b\r\n",
        b"z\r\n",
        b"1\r\nxy\r\n",
        b"1\nx\n",
    ]
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A head that may be anything, more or less."""
    line = b" ".join([draw(METHODS), draw(TARGETS), draw(VERSIONS)])
    lines = [line, *draw(st.lists(FIELDS, max_size=4))]
    return b"".join(line + draw(ENDS) for line in lines) + draw(ENDS)


STREAMS = st.lists(
    PLAIN | CHUNKS | heads() | st.binary(max_size=12) | st.sampled_from([b"\x16\x03", b"\r"]),
    max_size=6,
).map(b"".join)

CUTS = st.sets(st.integers(1, 600), max_size=12)
MODES = st.sampled_from(Mode)


def cut(data: bytes, cuts: set[int]) -> list[bytes]:
    inside = sorted(at for at in cuts if at < len(data))
    return [data[start:end] for start, end in pairwise([0, *inside, len(data)]) if start < end]


class Played(NamedTuple):
    """What became of a stream."""

    world: World
    peer: Peer
    is_ended: bool
    """The connection had told its client that no more answers come."""


def play(pieces: list[bytes], mode: Mode, *, has_end: bool = False) -> Played:
    """Send pieces to a front of its own and have it do all that it can."""
    with World(limits=SMALL, mode=mode) as world:
        peer = world.connect()
        for piece in pieces:
            peer.send(piece)
            world.settle()
        if has_end:
            peer.send_eof()
            world.settle()
        is_ended = peer.is_half_closed or peer.is_closing()
    return Played(world, peer, is_ended)

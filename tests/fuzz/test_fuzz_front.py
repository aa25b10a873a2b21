"""A connection of the front against anything at all, in any pieces.

The first byte of an input is the desync mode, the second says how the rest is cut, and whether the
client half-closes behind it.
"""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import strategies as st

from gateway.core.desync import Mode
from tests.desync import TABLE
from tests.fuzz.harness import checked, fuzz, mutated, seeds
from tests.soaking import soak_only
from tests.web.peer import CANARY
from tests.web.streams import BODY_LIMIT, STREAMS, Played, play, small_bodies

NAME = "front"
MODES = list(Mode)


def check(data: bytes) -> None:
    """The pieces do not matter, and nothing behind a closing answer is answered."""
    mode = MODES[data[0] % 3] if data else Mode.DEFENSIVE
    kind = data[1] if data[1:] else 0
    stream = data[2:] + CANARY
    cuts = sorted(Random(kind).sample(range(1, len(stream)), min(len(stream) - 1, kind % 8)))
    ways = [
        [stream],
        [bytes([byte]) for byte in stream],
        [stream[start:end] for start, end in pairwise([0, *cuts, len(stream)])],
    ]
    with small_bodies():
        whole, *others = [play(way, mode, has_end=kind > 127) for way in ways]

    for other in others:
        assert outcome(other) == outcome(whole)
    check_promises(whole)


def outcome(played: Played) -> tuple[object, ...]:
    world, peer, is_ended = played
    requests = [(item.method, item.target, item.headers, item.body) for item in world.requests]
    return peer.received, requests, world.noted, is_ended


def check_promises(played: Played) -> None:
    world, peer, is_ended = played
    last = peer.received.rpartition(b"Connection: close\r\n")[2]

    assert last == peer.received or (is_ended and b"HTTP/1.1 " not in last)
    assert all(request.raw_path.startswith(b"/") for request in world.requests)
    assert all(len(request.body) <= BODY_LIMIT for request in world.requests)
    assert len([status for status, _ in world.noted if status == 200]) == len(world.requests)


PREFIXES = st.binary(min_size=2, max_size=2)
PARTS = [
    *[b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"hello", b"\x16", b";"],
    *[b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Connection: close\r\n"],
    *[b"Expect: 100-continue\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n", CANARY, 50 * b"x"],
]


@pytest.mark.parametrize("seed", seeds(NAME), ids=lambda seed: seed.name)
def test_stream_found_before_is_served(seed: Path) -> None:
    checked(check, seed.read_bytes())


@pytest.mark.slow
@soak_only
def test_any_stream_is_served_the_same_in_any_pieces() -> None:
    streams = STREAMS | mutated([head + b"hello" for head in TABLE if len(head) < 400], PARTS)

    assert fuzz(NAME, check, st.tuples(PREFIXES, streams).map(b"".join))

"""P13: HTTP/2 is bounded. Floods end within 2 s, and all of them within 64 MB."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import hpack
import pytest

from gateway.core.floods import CONCURRENT_STREAMS
from gateway.core.room import CONNECTION_PART, ROOM_BYTES
from tests.e2e.serving import DEADLINE_SECONDS, Server
from tests.promises.conftest import Report
from tests.promises.h2_wire import (
    MEGABYTE,
    NO_WINDOW,
    SETTINGS,
    Raw,
    answered,
    block,
    connected,
    greet,
)
from tests.soaking import IS_SOAK
from tests.web.h2_peer import frame

CLOSED_SECONDS = 2.0 if IS_SOAK else 4.0
"""The longer one is for a machine that does other things."""
GROWTH_MB = 64.0
ROUNDS = 3 if IS_SOAK else 1
"""Connections, one after the other, of each flood."""
SHORT = block("/", ("content-length", "5"), method="POST")
Flood = tuple[bytes, bytes, Callable[[int], bytes]]


def repeated(piece: bytes) -> Callable[[int], bytes]:
    return lambda _round: piece * 100


def begun(stream_id: int) -> bytes:
    return frame(1, 4, stream_id, block("/", method="POST"))


def per_stream(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda index: b"".join(make(1 + 2 * (10 * index + count)) for count in range(10))


def bomb_parts() -> tuple[bytes, bytes]:
    """A head that fills the table with one field, and one that names it again and again."""
    names = (":method", ":scheme", ":authority", ":path")
    pseudo, encoder = list(zip(names, ("GET", "https", "a", "/"), strict=True)), hpack.Encoder()
    first = encoder.encode([*pseudo, ("x", "z" * 3_900)])
    return first, encoder.encode(pseudo) + b"\xbe" * 16_000


FIELD, REFERENCES = bomb_parts()


def bomb(index: int) -> bytes:
    return frame(1, 5, 3 + 2 * index, REFERENCES)


def half_body(index: int) -> bytes:
    stream_id = 1 + 2 * (index // 50)
    head = begun(stream_id) if not index % 50 else b""
    return head + frame(0, 0, stream_id, bytes(16_384))


FLOODS: dict[str, Flood] = {
    "PING": (SETTINGS, b"", repeated(frame(6, 0, 0, bytes(8)))),
    "SETTINGS": (SETTINGS, b"", repeated(frame(4, 0, 0, b"\0\4\0\0\1\0"))),
    "PRIORITY": (SETTINGS, b"", repeated(frame(2, 0, 1, b"\0\0\0\0\1"))),
    "unknown frames": (SETTINGS, b"", repeated(frame(0xEE, 0, 0))),
    "WINDOW_UPDATE": (SETTINGS, b"", repeated(frame(8, 0, 0, b"\0\0\0\1"))),
    "empty DATA": (SETTINGS, begun(1), repeated(frame(0, 0, 1))),
    "tiny DATA": (SETTINGS, begun(1), repeated(frame(0, 0, 1, b"a"))),
    "padded DATA": (SETTINGS, begun(1), repeated(frame(0, 8, 1, b"\xff" + bytes(255)))),
    "CONTINUATION": (SETTINGS, frame(1, 1, 1, block()), repeated(frame(9, 0, 1))),
    "CONTINUATION with fields": (
        SETTINGS,
        frame(1, 1, 1, block()),
        repeated(frame(9, 0, 1, b"\0\1x\1y")),
    ),
    "rapid reset": (
        SETTINGS,
        b"",
        per_stream(lambda at: frame(1, 5, at, block("/hold")) + frame(3, 0, at, b"\0\0\0\x08")),
    ),
    "made-you-reset": (
        SETTINGS,
        b"",
        per_stream(lambda at: frame(1, 4, at, SHORT) + frame(0, 1, at, b"x")),
    ),
    "streams over the limit, which is not acknowledged": (
        SETTINGS,
        b"",
        per_stream(lambda at: frame(1, 4, at, block("/", method="POST"))),
    ),
    "header bomb": (SETTINGS, frame(1, 5, 1, FIELD), bomb),
    "bodies without end": (SETTINGS, b"", half_body),
    "window of nothing": (
        NO_WINDOW,
        b"".join(
            frame(1, 5, at, block("/size/1000000")) for at in range(1, 2 * CONCURRENT_STREAMS, 2)
        ),
        lambda _round: b"",
    ),
}


def peak_mb(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def flood(raw: Raw, once: bytes, again: Callable[[int], bytes]) -> float:
    """Flood until the connection is closed; returns the seconds it took, or the deadline."""
    start = time.monotonic()  # noqa: TID251
    raw.send(once)
    index = 0
    while not raw.is_closed:
        seconds = time.monotonic() - start  # noqa: TID251
        if seconds > 2 * CLOSED_SECONDS:
            break
        piece = again(index)
        index += 1
        raw.send(piece)
        raw.frames(0 if piece else 0.1)
    return time.monotonic() - start  # noqa: TID251


@pytest.fixture(scope="module")
def fresh_mb(h2_server: Server) -> float:
    """Return the memory that the listener has before any flood."""
    greet(h2_server)
    return peak_mb(h2_server.pid)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_flood_is_ended_in_time_and_in_little_memory(
    h2_server: Server, fresh_mb: float, report: Report, name: str
) -> None:
    """The memory is that of all floods before, too, and each comes from an address of its own."""
    settings, once, again = FLOODS[name]
    source = f"127.0.1.{1 + list(FLOODS).index(name)}"

    most = 0.0
    for _ in range(ROUNDS):
        with connected(h2_server, settings, source) as raw:
            most = max(most, flood(raw, once, again))
    growth = peak_mb(h2_server.pid) - fresh_mb

    report(f"P13 {name}: closed after {most:.2f} s, {growth:+.1f} MB")
    assert most <= CLOSED_SECONDS
    assert growth <= GROWTH_MB
    greet(h2_server)


@pytest.mark.slow
def test_connections_that_hold_all_that_may_be_stop_no_honest_client(
    h2_server: Server, report: Report
) -> None:
    each, held = ROOM_BYTES // CONNECTION_PART // MEGABYTE, 0
    with ExitStack() as stack:
        for number in range(CONNECTION_PART):
            taker = stack.enter_context(
                connected(h2_server, NO_WINDOW, f"127.0.0.{2 + number // 2}")
            )
            ids = range(1, 2 * each, 2)
            taker.send(b"".join(frame(1, 5, at, block(f"/size/{MEGABYTE}")) for at in ids))
            heads = 0
            while heads < each:
                heads += sum(kind == 1 for kind, _, _, _ in taker.frames(DEADLINE_SECONDS))
                assert not taker.is_closed
            held += each * MEGABYTE
        bodies = [len(answered(h2_server, f"/size/{MEGABYTE}")) for _ in range(10)]

    report(f"P13: {held / 2**20:.0f} MB held by others: {len(bodies)} responses came whole")
    assert bodies == [MEGABYTE] * 10

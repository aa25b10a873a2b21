"""P13: HTTP/2 conforms and is bounded; P15 over it. Floods end within 2 s and 64 MB."""

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree as ET

import h2.events
import hpack
import pytest

from gateway.balancer.balancer import Balancer, TargetGroup
from gateway.core.alb import AlbCodec
from gateway.core.attributes import Attributes
from gateway.core.floods import CONCURRENT_STREAMS
from gateway.core.goaway import REQUESTS
from gateway.core.invocation import FunctionRef, InvocationResult
from gateway.core.listener import Listener
from gateway.core.pages import Pages
from gateway.core.room import CONNECTION_BYTES, ROOM_BYTES
from gateway.testing import FakeClock, FakeInvoker
from tests.e2e.serving import DEADLINE_SECONDS, Server
from tests.promises.conftest import Report
from tests.promises.puppet import INJECTED, OWN, PAGE
from tests.promises.test_random_replies import expected_lines, is_refused, mapped, random_pairs
from tests.promises.test_replies import REFUSED, REPLACED
from tests.web.h2_peer import H2Client, frame
from tests.web.peer import ARN, DATE, World, balancer

LISTENER = Listener("https", 443, "shop-1.eu-west-1.elb.amazonaws.com")

MEGABYTE = 1_000_000
"""A large response."""

CLOSED_SECONDS = 2.0
GROWTH_MB = 64.0

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WIDE = frame(4, 0, 0, struct.pack(">HI", 4, 2**30)) + frame(8, 0, 0, struct.pack(">I", 2**30))
SETTINGS, NO_WINDOW = frame(4, 0, 0), frame(4, 0, 0, struct.pack(">HI", 4, 0))
PRIORITY_CASES = {
    "Sends HEADERS frame that depend on itself",
    "Sends PRIORITY frame that depend on itself",
    "Sends a PRIORITY frame with 0x0 stream identifier",
}
"""RFC 9113 section 5.3.2 retired what they ask for; zttp ignores the frame."""


def tool(name: str) -> str:
    """The path of a command, beside this Python or of the system; skips the test without it."""
    found = shutil.which(
        name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if found is None:
        pytest.skip(f"{name} is not installed: `make tools`")
    return found


@contextmanager
def listening(*arguments: str) -> Iterator[Server]:
    """A listener of HTTP/2 in a process of its own."""
    with Server([sys.executable, "-m", "tests.promises.http2_server", *arguments]) as process:
        yield process.wait_until_listening()
        assert process.is_running
        assert len(process.output()) == 1, process.output.text()
        assert process.errors() == []


@pytest.fixture
def server() -> Iterator[Server]:
    """A listener without TLS."""
    with listening() as process:
        yield process


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[Server]:
    """A listener with TLS, for a client that does not look at the certificate."""
    made = tmp_path / "made.pem"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(made), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run(
        [tool("openssl"), "req", "-x509", "-days", "1", "-subj", "/CN=a", *new_key, *files],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    made.write_text(made.read_text() + (tmp_path / "certificate.pem").read_text())
    with listening(str(made)) as process:
        yield process


def block(path: str = "/", *more: tuple[str, str], method: str = "GET") -> bytes:
    pseudo = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
    return hpack.Encoder().encode([*pseudo, *more])


BLOCK = block()
GOAWAY, RST_STREAM = 7, 3


def streams(start: int = 1) -> Iterator[int]:
    return iter(range(start, 2**31, 2))


class Raw:
    """A connection on which frames are sent as they are."""

    def __init__(self, server: Server, settings: bytes, source: str) -> None:
        there = ("127.0.0.1", server.port)
        self.socket = socket.create_connection(there, DEADLINE_SECONDS, (source, 0))
        self.socket.sendall(PREFACE + settings)
        self._begun = b""
        self.is_closed = False

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            self.is_closed = True

    def frames(self, seconds: float) -> list[tuple[int, int, int, bytes]]:
        """Return the frames that come, waiting so long for the first of them."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return []
        try:
            data = self.socket.recv(2**18)
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
        data, found = self._begun + data, []
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end]))
            data = data[end:]
        self._begun = data
        return found


@contextmanager
def connected(
    server: Server, settings: bytes = SETTINGS, source: str = "127.0.0.1"
) -> Iterator[Raw]:
    with closing(Raw(server, settings, source)) as raw:
        yield raw


def greet(server: Server) -> None:
    """An honest client is answered."""
    assert answered(server, "/") == b"hello"


def answered(server: Server, path: str) -> bytes:
    """The body that an honest client is answered with, its windows large enough for all of it."""
    body = b""
    with connected(server, WIDE) as raw:
        raw.send(frame(1, 5, 1, block(path)))
        deadline = time.monotonic() + DEADLINE_SECONDS  # noqa: TID251
        while time.monotonic() < deadline:  # noqa: TID251
            for kind, flags, _, payload in raw.frames(DEADLINE_SECONDS):
                assert kind != RST_STREAM, payload
                body += payload if kind == 0 else b""
                if kind == 0 and flags & 1:
                    return body
    raise AssertionError("no answer")


# What comes in a flood: bytes sent once, then bytes sent again and again.

Flood = tuple[bytes, bytes, Callable[[int], bytes]]


def repeated(piece: bytes) -> Callable[[int], bytes]:
    return lambda _round: piece * 100


def begun(stream_id: int) -> bytes:
    return frame(1, 4, stream_id, block("/", method="POST"))


def per_stream(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda index: b"".join(make(1 + 2 * (10 * index + count)) for count in range(10))


def bomb(index: int) -> bytes:
    references = block() + b"\xbe" * 16_000
    return frame(1, 5, 3 + 2 * index, references)


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
        per_stream(lambda at: frame(1, 5, at, block("/hold")) + frame(8, 0, at, bytes(4))),
    ),
    "header bomb": (SETTINGS, frame(1, 5, 1, block("/", ("x", "z" * 4000))), bomb),
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


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_flood_is_ended_in_time_and_in_little_memory(
    server: Server, report: Report, name: str
) -> None:
    greet(server)
    before = peak_mb(server.pid)
    settings, once, again = FLOODS[name]

    most = 0.0
    for _ in range(3):
        with connected(server, settings) as raw:
            most = max(most, flood(raw, once, again))
    growth = peak_mb(server.pid) - before

    report(f"P13 {name}: closed after {most:.2f} s, {growth:+.1f} MB")
    assert most <= CLOSED_SECONDS
    assert growth <= GROWTH_MB
    greet(server)


@pytest.mark.slow
def test_connections_that_hold_all_that_may_be_stop_no_honest_client(
    server: Server, report: Report
) -> None:
    each, held = CONNECTION_BYTES // MEGABYTE, 0
    with ExitStack() as stack:
        for number in range(ROOM_BYTES // CONNECTION_BYTES):
            taker = stack.enter_context(connected(server, NO_WINDOW, f"127.0.0.{2 + number // 2}"))
            ids = range(1, 2 * each, 2)
            taker.send(b"".join(frame(1, 5, at, block(f"/size/{MEGABYTE}")) for at in ids))
            heads = 0
            while heads < each:
                heads += sum(kind == 1 for kind, _, _, _ in taker.frames(DEADLINE_SECONDS))
                assert not taker.is_closed
            held += each * MEGABYTE
        bodies = [len(answered(server, f"/size/{MEGABYTE}")) for _ in range(10)]

    report(f"P13: {held / 2**20:.0f} MB held by others: {len(bodies)} responses came whole")
    assert bodies == [MEGABYTE] * 10


# Many requests


class Asking:
    """A client that has so many requests answered by as many connections as it takes."""

    def __init__(self, server: Server, count: int, at_once: int) -> None:
        self.answered = self.failed = self.connections = 0
        self._server = server
        self._count = count
        self._at_once = at_once
        self._open: set[int] = set()
        self._is_last = False

    def run(self) -> None:
        while self.answered + self.failed < self._count and self.connections < self._count:
            self.connections += 1
            with connected(self._server) as raw:
                self._is_last = False
                self._use(raw)

    def _use(self, raw: Raw) -> None:
        ids = streams()
        raw.send(self._more(ids))
        while self._open and not raw.is_closed:
            for kind, flags, stream_id, payload in raw.frames(DEADLINE_SECONDS):
                self._take(kind, flags, stream_id, payload)
            raw.send(self._more(ids))
        self.failed += len(self._open)
        self._open.clear()

    def _more(self, ids: Iterator[int]) -> bytes:
        """Return requests that there is room for."""
        left = self._count - self.answered - self.failed - len(self._open)
        room = 0 if self._is_last else min(left, self._at_once - len(self._open))
        new = [next(ids) for _ in range(room)]
        self._open.update(new)
        return b"".join(frame(1, 5, stream_id, BLOCK) for stream_id in new)

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            self.failed += code != 0
            self._is_last = True
            # What stands behind the last stream is asked again (RFC 9113 section 6.8).
            self._open = {at for at in self._open if at <= last}
        elif stream_id in self._open and (kind == RST_STREAM or (kind < 2 and flags & 1)):
            self._open.discard(stream_id)
            self.failed += kind == RST_STREAM
            self.answered += kind != RST_STREAM


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 16])
def test_twenty_thousand_requests_are_answered_across_goaways(
    server: Server, report: Report, at_once: int
) -> None:
    asking = Asking(server, 20_000, at_once)
    asking.run()

    connections, failed = asking.connections, asking.failed
    report(f"P13: 20,000 requests, {at_once} at once: {connections} connections, {failed} failed")
    assert (asking.answered, failed) == (20_000, 0)
    assert connections == -(-20_000 // REQUESTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("/", ["-c", "6", "-m", "16", "-n", "20000"]),
        ("/size/1000000", ["-c", "2", "-m", "16", "-n", "200"]),
        ("/size/100000", ["-c", "2", "-m", "100", "-n", "2000"]),
        ("/size/1000000", ["-c", "1", "-m", "64", "-n", "300", "-w", "30", "-W", "30"]),
        ("/size/1000000", ["-c", "1", "-m", "100", "-n", "300", "-w", "30", "-W", "30"]),
    ],
)
def test_h2load_has_no_failure(tls_server: Server, path: str, arguments: list[str]) -> None:
    """h2load never opens a connection again: each gets as many requests as one may have."""
    count = arguments[arguments.index("-n") + 1]
    run = subprocess.run(
        [tool("h2load"), *arguments, tls_server.url + path],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )

    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in run.stdout
    assert f"{count} 2xx" in run.stdout


@pytest.mark.slow
def test_large_replies_after_small_ones_are_all_taken(tls_server: Server) -> None:
    """What replies have needed lately is then far from what they need."""
    for path, count in (("/", "1000"), ("/size/1000000", "200")):
        run = subprocess.run(
            [tool("h2load"), "-c", "1", "-m", "100", "-n", count, tls_server.url + path],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert f"{count} succeeded, 0 failed" in run.stdout


@pytest.mark.slow
def test_h2spec_fails_only_where_it_asks_for_priorities(
    tls_server: Server, report: Report, tmp_path: Path
) -> None:
    result = tmp_path / "h2spec.xml"
    command = [tool("h2spec"), "-h", "127.0.0.1", "-p", str(tls_server.port), "-t", "-k"]
    subprocess.run(
        [*command, "-j", str(result)], capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )

    cases = list(ET.parse(result).iter("testcase"))
    failed = {
        case.get("classname", "")
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    report(f"P13: h2spec: {len(cases)} cases, {len(failed)} failed")
    assert len(cases) > 140
    assert failed <= PRIORITY_CASES


# P15


@pytest.mark.parametrize("name", REFUSED)
def test_reply_that_is_none_is_a_502_over_http2(name: str) -> None:
    client, stream = told(REFUSED[name])

    assert client.status(stream) == 502
    assert_nothing_injected(client, stream)


@pytest.mark.parametrize("name", REPLACED)
def test_framing_is_the_gateways_over_http2(name: str) -> None:
    client, stream = told(REPLACED[name])

    headers = client.headers(stream)
    assert client.status(stream) == 200
    assert client.body(stream) == REPLACED[name]["body"].encode()
    assert headers["content-length"] == str(len(client.body(stream)))
    assert not headers.keys() & {"connection", "transfer-encoding", "keep-alive", "upgrade"}
    assert_nothing_injected(client, stream)


@pytest.mark.slow
@pytest.mark.parametrize("is_multi", [False, True], ids=["single", "multi"])
def test_5000_random_header_maps_over_http2(report: Report, *, is_multi: bool) -> None:
    random = Random(19 + is_multi)
    outcomes = Counter[int]()
    for _ in range(5):
        maps = [random_pairs(random, is_multi=is_multi) for _ in range(1000)]
        replies = [json.dumps(mapped(pairs, "body", is_multi=is_multi)) for pairs in maps]
        invoker = FakeInvoker([InvocationResult(reply.encode()) for reply in replies])
        attributes = Attributes(multi_value_headers=is_multi)
        group = TargetGroup(ARN, FunctionRef("f", "", ""), AlbCodec(ARN, LISTENER, attributes))
        responder = Balancer(
            group, invoker, pages=Pages(), clock=FakeClock(), draw="0123456789abcdef".__mul__
        )
        with World(responder) as world:
            client = H2Client(world)
            for pairs in maps:
                stream = client.ask()
                outcomes[client.status(stream)] += 1
                assert_lines_are(client, stream, pairs)
                client.events.clear()
            assert client.goaways == []

    assert min(outcomes.values()) > 1000
    kind = "multi" if is_multi else "single"
    report(f"P15 5000 random header maps over HTTP/2, {kind}-value: {dict(outcomes)}")


def assert_lines_are(client: H2Client, stream: int, pairs: list[tuple[str, str]]) -> None:
    """A response is the page or has exactly the lines it should have, in lower case."""
    assert client.is_over(stream)
    (event,) = client.of(h2.events.ResponseReceived, stream)
    seen = Counter((name, value) for name, value in event.headers if name != ":status")
    if is_refused(pairs):
        assert client.body(stream) == PAGE
        assert {name.encode() for name, _ in seen} == OWN - {b"connection"}
        return
    expected = Counter[tuple[str, str]]()
    for name, value in expected_lines(pairs, b"body").elements():
        expected[name.decode().lower(), value.decode().replace("\t", " ").strip(" ")] += 1
    del expected["connection", "keep-alive"]
    if "date" not in {name.lower() for name, _ in pairs}:
        del expected["date", ""], seen["date", DATE.decode()]
    assert seen == expected, pairs
    assert client.body(stream) == b"body"


def told(reply: Any) -> tuple[H2Client, int]:
    """A client that was given a function's reply, through the balancer, and its stream; the next
    request on the connection is answered."""
    responder, _ = balancer(json.dumps(reply).encode(), b'{"statusCode": 204}', port=443)
    with World(responder) as world:
        client = H2Client(world)
        stream = client.ask()
        assert client.status(client.ask()) == 204
        assert client.goaways == []
    return client, stream


def assert_nothing_injected(client: H2Client, stream: int) -> None:
    assert INJECTED.partition(":")[0].lower() not in client.headers(stream)
    assert client.is_over(stream)

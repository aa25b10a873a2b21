"""P10: limits are exact over real sockets: one byte less, the limit, one byte more.

Within a limit the request is served and so is the one pipelined behind it. Beyond, there is one
page with its status and `Connection: close`, no byte of the request in it, and nothing else.
"""

import re
import select
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.serving import Server
from tests.promises.conftest import Report, Serve
from tests.promises.wire import CANARY, Wire, chunk, chunked, exchange, get, post

pytestmark = pytest.mark.slow

TEXT = b"Content-Type: text/plain"
MARK = b"Z"
"""What fills requests up; no page has it."""

PIECE = 60_000
MEGABYTE = 1024 * 1024
CHUNKED_OVERHEAD = 64 * 1024
DATA = MARK * 1000


def line_of(size: int) -> bytes:
    """A request line, its CRLF counted."""
    return get(target=b"/" + MARK * (size - len(b"GET / HTTP/1.1\r\n")))


def header_of(size: int) -> bytes:
    """A header line, its CRLF counted."""
    return get(b"X: " + MARK * (size - len(b"X: \r\n")))


def head_of(size: int) -> bytes:
    """A head, from the first byte of the request line to the end of the empty line."""
    missing = size - len(get())
    lines = []
    while missing:
        length = missing if missing <= 8000 else 4000
        lines.append(b"X: " + MARK * (length - len(b"X: \r\n")))
        missing -= length
    return get(*lines)


def body_of(size: int) -> bytes:
    """A body with its length."""
    return post(MARK * size, TEXT, target=b"/size")


def pieces_of(size: int) -> bytes:
    """A chunked body."""
    whole, rest = divmod(size, PIECE)
    chunks = [chunk(MARK * PIECE)] * whole + [chunk(MARK * rest)] * bool(rest)
    return chunked(*chunks, b"0\r\n\r\n", target=b"/size", headers=(TEXT,))


def extension_of(size: int) -> bytes:
    """A chunked body of 1,000 bytes whose last chunk has an extension: this many bytes more than
    half of the data."""
    return padded(size, lambda fill: b"0;" + fill + b"\r\n\r\n")


def trailer_of(size: int) -> bytes:
    """The same with a trailer."""
    return padded(size, lambda fill: b"0\r\nX: " + fill + b"\r\n\r\n")


def padded(size: int, end: Callable[[bytes], bytes]) -> bytes:
    first = chunk(DATA)
    missing = len(DATA) * 3 // 2 + size - len(first) - len(end(b""))
    return chunked(first, end(MARK * missing), target=b"/size", headers=(TEXT,))


LIMITS: dict[str, tuple[Callable[[int], bytes], int, int]] = {
    "request line": (line_of, 16 * 1024, 414),
    "header line": (header_of, 16 * 1024, 400),
    "head": (head_of, 64 * 1024, 400),
    "body with a length": (body_of, MEGABYTE, 413),
    "body in chunks": (pieces_of, MEGABYTE, 413),
    "chunk extension": (extension_of, CHUNKED_OVERHEAD, 400),
    "trailers": (trailer_of, CHUNKED_OVERHEAD, 400),
}


@pytest.fixture(scope="module")
def echo(shared: Serve) -> Server:
    return shared("echo.handler")


@pytest.mark.parametrize("name", LIMITS)
def test_size_limit_is_exact(echo: Server, name: str, report: Report) -> None:
    request_of, limit, status = LIMITS[name]

    below = exchange(echo, request_of(limit - 1) + CANARY)
    exact = exchange(echo, request_of(limit) + CANARY)
    above = exchange(echo, request_of(limit + 1) + CANARY)

    assert [each.status for each in below + exact] == [200] * 4
    assert [each.status for each in above] == [status]
    assert above[0].closes
    assert MARK not in above[0].body
    report(f"P10 {name}: {limit - 1} and {limit} bytes served, {limit + 1} refused with {status}")


@pytest.mark.parametrize("name", ["body with a length", "body in chunks"])
def test_body_at_its_limit_arrives_whole(echo: Server, name: str) -> None:
    request_of, limit, _ = LIMITS[name]

    [response, _] = exchange(echo, request_of(limit) + CANARY)

    assert response.body == b"%d" % limit


def test_line_that_can_only_be_too_long_is_refused_before_it_ends(echo: Server) -> None:
    line = b"GET /" + MARK * (16 * 1024 - len(b"GET /"))

    with Wire(echo) as wire:
        response = wire.ask(line)  # not even a LF would make it fit
        rest = wire.rest()

    assert (response.status, response.closes, rest) == (414, True, b"")


def test_head_that_can_only_be_too_large_is_refused_before_it_ends(echo: Server) -> None:
    head = head_of(64 * 1024 + 100).removesuffix(b"\r\n")

    with Wire(echo) as wire:
        response = wire.ask(head)
        rest = wire.rest()

    assert (response.status, response.closes, rest) == (400, True, b"")


def test_declared_body_that_is_too_large_is_refused_before_it_comes(echo: Server) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (MEGABYTE + 1)

    with Wire(echo) as wire:
        response = wire.ask(head)
        rest = wire.rest()

    assert (response.status, response.closes, rest) == (413, True, b"")


def fields_of(count: int) -> bytes:
    """A head of this many header fields, the Host among them."""
    return get(*[b"a:"] * (count - get().count(b"\r\n") + 2))


def test_number_of_header_fields_is_exact(echo: Server, report: Report) -> None:
    below, exact = (exchange(echo, fields_of(count) + CANARY) for count in (199, 200))
    [above] = exchange(echo, fields_of(201) + CANARY)

    assert [each.status for each in below + exact] == [200] * 4
    assert (above.status, above.closes) == (400, True)
    report("P10 header fields: 199 and 200 served, 201 refused with 400")


@pytest.mark.parametrize(("count", "status"), [(29, 200), (30, 200), (31, 463)])
@pytest.mark.parametrize("lines", [1, 5])
def test_forwarded_addresses_are_counted_over_all_lines(
    echo: Server, count: int, lines: int, status: int
) -> None:
    addresses = [b"10.0.0.%d" % number for number in range(count)]
    parts = [addresses[start::lines] for start in range(lines)]

    request = get(*[b"X-Forwarded-For: " + b", ".join(part) for part in parts])
    [response, canary] = exchange(echo, request + CANARY)

    assert (response.status, canary.status) == (status, 200)
    assert not response.closes
    assert b"10.0.0" not in response.body or status == 200


# Connections


@pytest.mark.parametrize("name", ["connections", "connections_per_address"])
def test_connection_limit_is_exact(serve: Serve, name: str, report: Report) -> None:
    server = serve("echo.handler", "--limit", f"{name}=5")

    with ExitStack() as stack:
        admitted = [stack.enter_context(Wire(server)) for _ in range(5)]
        statuses = [wire.ask(get()).status for wire in admitted]
        refused = refusal(server)
        admitted[0].socket.close()
        again = until_admitted(server)

    said = server.output.wait_for(r"closed unanswered: (?P<what>.*)")["what"]
    assert statuses == [200] * 5
    assert refused == b""
    assert again == 200
    assert re.fullmatch(rf"\d+ over {name}=5 \(from 127\.0\.0\.1\)", said)
    report(f"P10 {name}=5: 5 served, the 6th closed without an answer, then one for one that left")


def test_connections_of_other_addresses_do_not_count(serve: Serve) -> None:
    server = serve("echo.handler", "--limit", "connections_per_address=1")

    with Wire(server, source="127.0.0.1") as first, Wire(server, source="127.0.0.2") as second:
        statuses = [first.ask(get()).status, second.ask(get()).status]
        refused = [refusal(server, source="127.0.0.1"), refusal(server, source="127.0.0.2")]

    assert statuses == [200, 200]
    assert refused == [b"", b""]


def refusal(server: Server, *, source: str = "127.0.0.1") -> bytes:
    """Return what a connection that is not admitted gets."""
    with Wire(server, source=source) as wire:
        try:
            wire.send(get())
            return wire.rest()
        except ConnectionError:
            return b""


def until_admitted(server: Server) -> int:
    """Connect until there is room: the server learns of a client's end in its own time."""
    for _ in range(1000):
        with Wire(server) as wire:
            try:
                return wire.ask(get()).status
            except (ConnectionError, AssertionError):
                continue
    raise AssertionError("never admitted")


# After a refusal


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_bytes_dropped_after_a_refusal_are_bounded(serve: Serve, excess: int) -> None:
    limit = 300_000
    linger = ("--limit", f"linger_bytes={limit}", "--limit", "linger_silence_seconds=1000")
    server = serve("echo.handler", *linger)

    with Wire(server) as wire:
        status = wire.ask(b"BAD\r\n\r\n").status
        wire.send(MARK * (limit + excess))
        is_held = is_held_by(server, wire)

    assert status == 400
    assert is_held == (excess <= 0)


def is_held_by(server: Server, wire: Wire) -> bool:
    """Say whether the server keeps a connection when it has read everything from it."""
    own = wire.socket.getsockname()[1]
    for _ in range(10_000):
        row = tcp_row(server.port, own)
        if not row or row[4].endswith(":00000000"):  # no unread bytes
            break
        select.select([], [], [], 0.001)  # for the server to read on
    exchange(server, get(b"Connection: close"))  # its event loop has turned since then
    row = tcp_row(server.port, own)
    return bool(row) and row[9] != "0"  # the inode: an end that no process holds has none


def tcp_row(local: int, remote: int) -> list[str]:
    """Return what the kernel says about one end of a connection on loopback, see proc(5)."""
    ends = [f"0100007F:{port:04X}" for port in (local, remote)]
    for line in Path("/proc/net/tcp").read_text().splitlines():
        row = line.split()
        if row[1:3] == ends:
            return row
    return []


def test_client_that_goes_on_sending_sees_the_status_and_no_reset(echo: Server) -> None:
    with Wire(echo) as wire:
        wire.send(line_of(20_000))
        wire.send(MARK * MEGABYTE)
        response = wire.response()
        rest = wire.rest()

    assert (response.status, response.closes, rest) == (414, True, b"")

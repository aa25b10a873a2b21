"""Memory: clients that do not finish, or do not read, hold no more than there is room for, and
honest ones are served meanwhile."""

import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest

from gateway.core.room import MEGABYTE, OVERFLOW_FACTOR, ROOM_BYTES
from gateway.wire.tls_transport import PIECE_BYTES, READ_BYTES
from tests.e2e.leftovers import wait_until
from tests.e2e.serving import Server, serving
from tests.process.crowds import crowd, push
from tests.process.whole import Bystander, bystander, watching

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

HANDLER = """
BIG = "x" * 900_000

def handler(event, context):
    return {"statusCode": 200, "body": BIG if event["path"] == "/big" else str(len(event["body"]))}
"""

SERVED = 20
"""Requests of each honest client beside the attackers."""

CLIENTS = 150
"""With 1 MB each they would hold three times as much as they may."""

MOST_MB = ROOM_BYTES * OVERFLOW_FACTOR / MEGABYTE + 16
"""What is held, what is being read and written, and what the allocator keeps."""

BURST_FACTOR = 1.5
"""What one turn of the event loop reads and answers."""

LAYER_BYTES = 256 * 1024
"""The TLS layer's own buffer; what is used of memory that was used before counts whole."""

TLS_MB = CLIENTS * (50 * 1024 + LAYER_BYTES + 1.5 * (READ_BYTES + PIECE_BYTES)) / MEGABYTE
"""What TLS connections take that have read and written: OpenSSL's state and buffers, which grow by
more than is put in."""

HOST = b" HTTP/1.1\r\nHost: a\r\n"
CHUNK = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
POST = b"POST /" + HOST
FIELDS = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(64))[:-2000]

NEVER_ENDS = {
    "body": POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 999_999,
    "chunked": POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 15,
    "head": b"GET /" + HOST + FIELDS,
    "reply": b"GET /big" + HOST + b"\r\n",
    "requests": b"GET /big" + HOST + b"\r\n" + (b"GET /" + HOST + b"\r\n") * 9_000,
}
"""What attackers send; they read nothing."""


@contextmanager
def honest(server: Server) -> Iterator[list[Bystander]]:
    """Have others send small and large bodies and get large replies."""
    with ExitStack() as stack:
        clients = [
            bystander(server, rate=20, body=b"x" * 1_000),
            bystander(server, rate=20, body=b"x" * 1_000_000),
            bystander(server, "/big", rate=20),
        ]
        yield [stack.enter_context(client) for client in clients]


@contextmanager
def serving_big(code: Path, *options: str) -> Iterator[Server]:
    (code / "app.py").write_text(HANDLER)
    # Few at once: what invocations hold is not the room's business.
    few = ("--in-process", "--concurrency", "4", "--quiet")
    with serving("app.handler", *few, *options, code=code) as server:
        yield server


def wait_until_served(clients: list[Bystander]) -> None:
    """Wait for further responses to each honest client."""
    served = [len(client.latencies) for client in clients]
    wait_until(
        lambda: all(
            len(client.latencies) >= before + SERVED
            for client, before in zip(clients, served, strict=True)
        ),
        lambda: [client.outcomes for client in clients],
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("what", NEVER_ENDS)
def test_crowd_holds_no_more_than_there_is_room_for(what: str, scheme: str, tmp_path: Path) -> None:
    tls = ssl._create_unverified_context() if scheme == "https" else None
    options = ["--https"] if tls else []
    with serving_big(tmp_path, *options) as server, honest(server) as clients:
        wait_until_served(clients)  # their own is not what is judged
        with (
            watching(server) as memory,
            crowd(server, CLIENTS, addresses=3, tls=tls) as attackers,
        ):
            push(attackers, NEVER_ENDS[what])
            wait_until_served(clients)

    most = memory[0] + MOST_MB + (TLS_MB if tls else 0.0)
    assert median(memory[len(memory) // 2 :]) <= most  # what stays
    assert max(memory) <= most * BURST_FACTOR
    assert [set(client.outcomes) for client in clients] == [{"200"}] * 3

"""A refusal reaches clients that write all of their request before they read.

The clients are libraries that people use, in processes of their own, over HTTP and HTTPS. In an
earlier form the front read on for 2 seconds and 2 MB at most, and everything slower or larger ended
as a broken pipe.
"""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compiled import JAVA, go_program, java_classes, needed
from tests.e2e.serving import Server, serving
from tests.process.whole import look
from tests.soaking import soak_only

CLIENTS = Path(__file__).parent / "clients"

WITHIN_SECONDS = 120.0

pytestmark = pytest.mark.slow

SCHEMES = {"http": ("--in-process",), "https": ("--in-process", "--https")}


@pytest.fixture(scope="module", params=SCHEMES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    own = {"XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    with serving("echo.handler", *SCHEMES[request.param], env=own) as server:
        yield server


Pace = tuple[int, int, float]
"""Bytes in all, bytes at once, and seconds between."""

SMALL: Pace = (1_100_000, 65536, 0.0)
SLOW: Pace = (2_400_000, 60_000, 0.06)
"""More than 2 MB in more than 2 seconds."""

LARGE = [(50_000_000, 1_000_000, 0.0), (500_000_000, 1_000_000, 0.0)]
VERY_SLOW = [(3_000_000, 65536, 0.7), (6_000_000, 65536, 0.7)]
"""For 32 and for 64 seconds."""
LONG_PAUSES = [(1_100_000, 200_000, 4.5)]

LIBRARIES = ("http.client", "urllib", "httpx")
"""Of Python."""


def said(*commands: list[str]) -> list[str]:
    """Return the lines of clients that ran at the same time."""
    clients = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    output = [client.communicate(timeout=WITHIN_SECONDS)[0] for client in clients]
    return [line for text in output for line in text.splitlines()]


def python(url: str, *jobs: tuple[str, Pace, str]) -> list[str]:
    """Return the command of a Python client; a job is a library, a pace and a kind of request."""
    words = [":".join(map(str, (library, *pace, kind))) for library, pace, kind in jobs]
    return [sys.executable, str(CLIENTS / "refused.py"), url, *words]


def source(name: str) -> str:
    return (CLIENTS / name).read_text()


def other_clients() -> list[list[str]]:
    """Return the beginnings of the commands of clients in other languages."""
    return [
        [needed("node"), str(CLIENTS / "refused.mjs")],
        [str(go_program(source("refused.go"), "refused"))],
        [*JAVA, "-cp", str(java_classes(source("Refused.java"), "Refused")), "Refused"],
    ]


@pytest.mark.parametrize(
    "paces",
    [
        pytest.param([SMALL, SLOW], id="small and slow"),
        pytest.param(LARGE, id="large", marks=soak_only),
        pytest.param(VERY_SLOW, id="64 KB a second", marks=soak_only),
        pytest.param(LONG_PAUSES, id="long pauses", marks=soak_only),
    ],
)
def test_clients_of_each_library_see_the_status(server: Server, paces: list[Pace]) -> None:
    jobs = [(library, pace, "length") for library in LIBRARIES for pace in paces]
    others = [
        [*client, server.url, *map(str, pace)] for client in other_clients() for pace in paces
    ]

    assert said(python(server.url, *jobs), *others) == ["413"] * (len(jobs) + len(others))


KINDS = {
    "length": 413,
    "chunked": 413,
    "expect": 413,
    "tls1.2": 413,
    "header": 400,
    "head": 400,
    "fields": 400,
    "target": 414,
    "hosts": 400,
    "coding": 501,
    "severe": 400,
}


def test_every_refusal_is_seen_behind_a_slow_body(server: Server) -> None:
    statuses = said(python(server.url, *(("http.client", SLOW, kind) for kind in KINDS)))

    assert dict(zip(KINDS, map(int, statuses), strict=True)) == KINDS


def test_slow_body_is_refused_with_408() -> None:
    limits = ("--limit", "body_grace_seconds=0.5", "--limit", "body_bytes_per_second=900000")
    with serving("echo.handler", "--in-process", *limits) as server:
        pace = (300_000, 20_000, 0.07)
        assert said(python(server.url, ("http.client", pace, "length"))) == ["408"]


def test_plain_http_on_an_https_port_is_refused(server: Server) -> None:
    if not server.url.startswith("https"):
        pytest.skip("HTTPS only")

    url = server.url.replace("https", "http")
    assert said(python(url, ("http.client", SLOW, "length"))) == ["400"]


def test_tls_client_hears_close_notify_behind_a_refusal_and_may_go_on(server: Server) -> None:
    """As nginx does: the response, close_notify, FIN; what comes then is dropped."""
    if not server.url.startswith("https"):
        pytest.skip("HTTPS only")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", server.port), 30) as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing)

        def spoken(act: object) -> object:
            while True:
                try:
                    result = act()  # type: ignore[operator]
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    data = raw.recv(65536)
                    incoming.write(data) if data else incoming.write_eof()
                else:
                    raw.sendall(outgoing.read())
                    return result

        spoken(client.do_handshake)
        client.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + bytes(1000))
        answer = b""
        while data := spoken(lambda: client.read(65536)):  # b"" is close_notify
            answer += data  # type: ignore[operator]
        for _ in range(20):
            client.write(bytes(50_000))
            raw.sendall(outgoing.read())
        rest = raw.recv(65536)  # FIN, and not a reset

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert rest == b""


def test_refused_clients_hold_nothing_of_what_they_send(server: Server) -> None:
    before = look(server.pid).memory_mb
    job = ("http.client", (6_000_000, 200_000, 0.03), "length")

    statuses = said(python(server.url, *[job] * 5))

    assert statuses == ["413"] * 5
    assert look(server.pid).memory_mb - before < 20

"""A refusal reaches clients that write all of their request before they read.

The clients are libraries that people use, in processes of their own, over HTTP and HTTPS. In an
earlier form the front read on for 2 seconds and 2 MB at most, and everything slower or larger ended
as a broken pipe.
"""

import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Server, serving
from tests.process.whole import look
from tests.soaking import soak_only

CLIENTS = Path(__file__).parent / "clients"
GO = shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")

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


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> str:
    if GO is None:
        pytest.skip("go is missing: make tools installs it")
    program = tmp_path_factory.mktemp("go") / "refused"
    command = [GO, "build", "-o", program, CLIENTS / "refused.go"]
    subprocess.run(command, check=True, timeout=300)
    return str(program)


Pace = tuple[int, int, float]
"""Bytes in all, bytes at once, and seconds between."""

PACES: list[Pace] = [
    (1_100_000, 65536, 0.0),
    (50_000_000, 1_000_000, 0.0),
    (2_400_000, 48_000, 0.07),
]
"""Small, large, and over 3 seconds."""

LONG_PACES: list[Pace] = [
    (3_000_000, 65536, 0.7),
    (6_000_000, 65536, 0.7),
    (1_100_000, 200_000, 4.5),
    (500_000_000, 1_000_000, 0.0),
]
"""64 KB a second for 32 and for 64 seconds, long pauses, and very large."""

PACES_OF = pytest.mark.parametrize(
    "paces", [pytest.param(PACES, id="short"), pytest.param(LONG_PACES, id="long", marks=soak_only)]
)


def said(*commands: list[str]) -> list[str]:
    """Return what clients printed that ran at the same time."""
    clients = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command in commands
    ]
    return [client.communicate(timeout=WITHIN_SECONDS)[0].strip() for client in clients]


def python(library: str, url: str, pace: Pace, kind: str = "length") -> list[str]:
    program = str(CLIENTS / "refused.py")
    return [sys.executable, program, library, url, *map(str, pace), kind]


@PACES_OF
@pytest.mark.parametrize("library", ["http.client", "urllib", "httpx"])
def test_python_sees_the_status(server: Server, library: str, paces: list[Pace]) -> None:
    assert said(*(python(library, server.url, pace) for pace in paces)) == ["413"] * len(paces)


@PACES_OF
def test_node_sees_the_status(server: Server, paces: list[Pace]) -> None:
    node = shutil.which("node") or pytest.skip("node is missing")
    command = [node, str(CLIENTS / "refused.mjs"), server.url]

    assert said(*([*command, *map(str, pace)] for pace in paces)) == ["413"] * len(paces)


@PACES_OF
def test_go_sees_the_status(server: Server, go: str, paces: list[Pace]) -> None:
    assert said(*([go, server.url, *map(str, pace)] for pace in paces)) == ["413"] * len(paces)


@PACES_OF
@pytest.mark.skipif(not shutil.which("javac"), reason="javac is missing: make tools installs it")
def test_java_sees_the_status(server: Server, paces: list[Pace]) -> None:
    command = ["java", str(CLIENTS / "Refused.java"), server.url]

    assert said(*([*command, *map(str, pace)] for pace in paces)) == ["413"] * len(paces)


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
    statuses = said(*(python("http.client", server.url, PACES[2], kind) for kind in KINDS))

    assert dict(zip(KINDS, map(int, statuses), strict=True)) == KINDS


def test_slow_body_is_refused_with_408() -> None:
    limits = ("--limit", "body_grace_seconds=0.5", "--limit", "body_bytes_per_second=900000")
    with serving("echo.handler", "--in-process", *limits) as server:
        assert said(python("http.client", server.url, (1_000_000, 20_000, 0.07))) == ["408"]


def test_plain_http_on_an_https_port_is_refused(server: Server) -> None:
    if not server.url.startswith("https"):
        pytest.skip("HTTPS only")

    assert said(python("http.client", server.url.replace("https", "http"), PACES[2])) == ["400"]


def test_tls_client_hears_goodbye_behind_a_refusal_and_may_go_on(server: Server) -> None:
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
    command = python("http.client", server.url, (6_000_000, 200_000, 0.1))

    statuses = said(*[command] * 5)

    assert statuses == ["413"] * 5
    assert look(server.pid).memory_mb - before < 20

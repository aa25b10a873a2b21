"""Under real ASGI servers with their defaults a response has one of each header that a server, too,
could add."""

import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.leftovers import wait_until
from tests.e2e.serving import APPS, DEADLINE_SECONDS, Process, Server

pytestmark = pytest.mark.slow

ONCE = {b"server", b"date", b"connection", b"content-length", b"transfer-encoding"}

Connect = Callable[[], socket.socket]


@contextmanager
def uvicorn(app: str, _directory: Path, *options: str) -> Iterator[Connect]:
    command = [sys.executable, "-m", "uvicorn", "--port", "0", *options, app]
    with Server(command, cwd=APPS) as server:
        server.wait_until_listening(r"running on (?P<url>http://\S+)", on_stderr=True)
        yield lambda: socket.create_connection(("127.0.0.1", server.port))


@contextmanager
def hypercorn(app: str, directory: Path, *lines: str) -> Iterator[Connect]:
    config = directory / "hypercorn.toml"
    config.write_text("\n".join(lines))
    options = ["--config", str(config), "--bind", "127.0.0.1:0"]
    command = [sys.executable, "-m", "hypercorn", *options, app]
    with Server(command, cwd=APPS) as server:
        server.wait_until_listening(r"Running on (?P<url>http://\S+)", on_stderr=True)
        yield lambda: socket.create_connection(("127.0.0.1", server.port))


@contextmanager
def granian(app: str, directory: Path) -> Iterator[Connect]:
    path = directory / "s"
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--uds", str(path), app]
    with Process(command, cwd=APPS) as process:
        process.output.wait_for("Started worker-1")
        wait_until(lambda: accepts(path), process.output.text)  # it says so before it listens
        yield lambda: unix_connection(path)


def accepts(path: Path) -> bool:
    """Say whether a Unix socket accepts connections."""
    with socket.socket(socket.AF_UNIX) as client:
        return not client.connect_ex(str(path))


def unix_connection(path: Path) -> socket.socket:
    """Return a connection to a Unix socket."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


SERVERS = {
    "uvicorn": (uvicorn, ("--http", "httptools"), b"uvicorn"),
    "uvicorn h11": (uvicorn, ("--http", "h11"), b"uvicorn"),
    "uvicorn without": (uvicorn, ("--no-server-header", "--no-date-header"), b"awselb/2.0"),
    "uvicorn named": (uvicorn, ("--header", "Server:mine"), b"mine"),
    "hypercorn": (hypercorn, (), b"hypercorn-h11"),
    "hypercorn without": (
        hypercorn,
        ("include_server_header = false", "include_date_header = false"),
        b"awselb/2.0",
    ),
    "granian": (granian, (), b"awselb/2.0"),
}

FIRST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
REQUESTS = {
    "get": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "kept": FIRST + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "head": b"HEAD /binary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "1.0": b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    "no content": b"GET /no-content HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "failure": b"GET /raise HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
}


def heads(connection: socket.socket, request: bytes) -> list[list[tuple[bytes, bytes]]]:
    """Return the header fields of all responses to a request."""
    with connection:
        connection.settimeout(DEADLINE_SECONDS)
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    found = []
    for part in answer.split(b"HTTP/1.")[1:]:
        lines = part.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        pairs = [line.partition(b":") for line in lines]
        found.append([(name.lower(), value.strip()) for name, _, value in pairs])
    return found


def check(found: list[tuple[bytes, bytes]], server: bytes) -> None:
    counts = Counter(name for name, _ in found if name in ONCE)
    assert (counts[b"server"], counts[b"date"]) == (1, 1), found
    assert max(counts.values()) == 1, found
    assert dict(found)[b"server"] == server


@pytest.mark.parametrize("name", SERVERS)
def test_response_has_one_of_each_header(name: str, tmp_path: Path) -> None:
    start, options, server = SERVERS[name]
    with start("embedded:app", tmp_path, *options) as connect:
        answers = {kind: heads(connect(), request) for kind, request in REQUESTS.items()}

    assert [len(found) for found in answers.values()] == [2 if k == "kept" else 1 for k in answers]
    for found in answers.values():
        for each in found:
            check(each, server)


@pytest.mark.parametrize(
    ("name", "options"), [("uvicorn", ()), ("uvicorn without", ()), ("hypercorn", ())]
)
def test_middleware_between_them_changes_nothing(
    name: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    start, given, server = SERVERS[name]
    with start("mounted:app", tmp_path, *given, *options) as connect:
        [found] = heads(connect(), REQUESTS["get"])

    check(found, server)

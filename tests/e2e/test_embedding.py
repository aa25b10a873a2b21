"""The gateway as an ASGI application under servers that are not ours."""

import base64
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.curl import page
from tests.e2e.serving import APPS, DEADLINE_SECONDS, Process, Server

pytestmark = pytest.mark.slow

MEGABYTE = 1024 * 1024
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: shop.example.org\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ENVIRONMENT = {"GATEWAY_HANDLER": "echo.handler", "GATEWAY_CODE": str(APPS)}


@dataclass
class Embedded:
    """A server that runs an ASGI application: how to reach it."""

    process: Process
    client: httpx.Client
    connect: Callable[[], socket.socket]


@contextmanager
def hypercorn(app: str, env: dict[str, str], directory: Path) -> Iterator[Embedded]:
    """Run hypercorn on a free port, which it names; it adds a Server and a Date unless told not
    to."""
    config = directory / "hypercorn.toml"
    config.write_text("include_server_header = false\ninclude_date_header = false\n")
    options = ["--config", str(config), "--bind", "127.0.0.1:0"]
    command = [sys.executable, "-m", "hypercorn", *options, app]
    with Server(command, cwd=APPS, env=env) as server:
        server.wait_until_listening(r"Running on (?P<url>http://\S+)", on_stderr=True)
        with httpx.Client(base_url=server.url, timeout=DEADLINE_SECONDS) as client:
            address = ("127.0.0.1", server.port)
            yield Embedded(server, client, lambda: socket.create_connection(address))


@contextmanager
def granian(app: str, env: dict[str, str], directory: Path) -> Iterator[Embedded]:
    """Run granian on a Unix socket: it does not tell which port it was given for 0."""
    path = directory / "granian.sock"
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--uds", str(path), app]
    with Process(command, cwd=APPS, env=env) as process:
        process.output.wait_for("Started worker-1")
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(
            base_url="http://localhost", transport=transport, timeout=DEADLINE_SECONDS
        ) as client:
            yield Embedded(process, client, lambda: unix_connection(path))


def unix_connection(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


SERVERS = {"hypercorn": hypercorn, "granian": granian}


@pytest.fixture(scope="module", params=SERVERS)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def embedded(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp(name)
        yield stack.enter_context(SERVERS[name]("embedded:app", {}, directory))


def test_get_reaches_the_handler(embedded: Embedded) -> None:
    response = embedded.client.get("/a%2Fb?x=1&x=2%20")

    event = response.json()
    assert response.status_code == 200
    assert (event["path"], event["queryStringParameters"]) == ("/a%2Fb", {"x": "2%20"})
    assert event["headers"]["host"] == "shop.example.org"
    assert event["headers"]["x-forwarded-proto"] == "https"


def test_reply_has_the_headers_of_alb(embedded: Embedded) -> None:
    response = embedded.client.get("/")

    assert response.headers.get_list("server") == ["awselb/2.0"]
    assert len(response.headers.get_list("date")) == 1
    assert response.headers["content-type"] == "application/json"


def test_post_carries_binary_both_ways(embedded: Embedded) -> None:
    sent = bytes(range(256))

    event = embedded.client.post("/", content=sent, headers={"content-type": "image/png"}).json()

    assert base64.b64decode(event["body"]) == sent
    assert embedded.client.get("/binary").content == sent


def test_head_has_the_length_and_no_body(embedded: Embedded) -> None:
    response = embedded.client.head("/binary")

    assert response.headers["content-length"] == "256"
    assert response.content == b""
    assert embedded.client.get("/").status_code == 200


def test_failure_is_albs_page(embedded: Embedded) -> None:
    response = embedded.client.get("/raise")

    assert (response.status_code, response.content) == (502, page("502 Bad Gateway"))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_two_megabytes_are_refused(embedded: Embedded, is_chunked: bool) -> None:
    body = b"x" * 2 * MEGABYTE
    chunks = (body[start : start + 65536] for start in range(0, len(body), 65536))

    response = embedded.client.post("/", content=chunks if is_chunked else body)

    assert response.status_code == 413
    assert response.content == page("413 Request Entity Too Large")


def test_one_megabyte_is_accepted(embedded: Embedded) -> None:
    body = b"x" * MEGABYTE

    response = embedded.client.post("/size", content=body, headers={"content-type": "text/plain"})

    assert response.text == str(MEGABYTE)


def test_websocket_is_refused_with_albs_page(embedded: Embedded) -> None:
    with embedded.connect() as connection:
        connection.settimeout(DEADLINE_SECONDS)
        connection.sendall(UPGRADE)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == page("400 Bad Request")


@pytest.mark.parametrize("name", SERVERS)
def test_application_comes_from_the_environment(name: str, tmp_path: Path) -> None:
    env = {
        **ENVIRONMENT,
        "GATEWAY_ATTRIBUTES": "lambda.multi_value_headers.enabled=true "
        "routing.http.xff_header_processing.mode=remove",
        "GATEWAY_AS": "https://shop.example.org",
    }

    with SERVERS[name]("gateway.asgi:app", env, tmp_path) as embedded:
        headers = embedded.client.get("/").json()["multiValueHeaders"]

    assert headers["host"] == ["shop.example.org"]
    assert "x-forwarded-for" not in headers


COMMANDS = {
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:0"],
    "granian": ["granian", "--interface", "asgi", "--uds"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_unknown_handler_fails_the_start_with_a_clear_message(name: str, tmp_path: Path) -> None:
    last = [str(tmp_path / "socket")] if name == "granian" else []
    command = [sys.executable, "-m", *COMMANDS[name], *last, "embedded:broken"]

    with Process(command, cwd=APPS) as process:
        process.wait()
        said = process.output.wait_for_end() + process.errors.wait_for_end()

    assert [line for line in said if "No module named 'no_such_module'" in line]


def test_missing_variable_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", *COMMANDS["granian"], str(tmp_path / "s"), "gateway.asgi:app"]

    with Process(command, cwd=APPS) as process:
        status = process.wait()
        said = process.output.wait_for_end() + process.errors.wait_for_end()

    assert status != 0
    assert [line for line in said if "set GATEWAY_HANDLER to module.function" in line]


@pytest.mark.parametrize("name", SERVERS)
def test_server_stops_without_complaint(name: str, tmp_path: Path) -> None:
    with SERVERS[name]("embedded:app", {}, tmp_path) as embedded:
        embedded.client.get("/")

        assert embedded.process.stop() in {0, -15, 143}
        said = embedded.process.output.wait_for_end() + embedded.process.errors.wait_for_end()

    assert not [line for line in said if "Traceback" in line or "Error" in line], os.linesep.join(
        said
    )

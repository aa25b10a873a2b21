"""What a serving process prints: its first lines, one line for each request, logs for programs."""

import json
import re
import signal
from contextlib import closing
from pathlib import Path

import pytest

from gateway.server.privileges import root_warning
from tests.e2e.conftest import ON_TWO, WITH_AND_WITHOUT_TLS, WITHOUT_TLS, Serve
from tests.e2e.serving import (
    APPS,
    STATE,
    Process,
    Server,
    connect,
    gateway_command,
    get,
)

pytestmark = pytest.mark.slow

ECHO = "echo.handler"
LONG = ("--timeout", "60")
STOPPING = [signal.SIGTERM, signal.SIGINT]
FIELD = re.compile(r'"[^"]*"|\S+')


@pytest.fixture(scope="module")
def echo(shared: Serve) -> Server:
    return shared(ECHO, *LONG)


# --- ports ---


def test_port_in_use_is_one_line_with_advice(echo: Server, front: list[str]) -> None:
    command = gateway_command("serve", ECHO, "--code", str(APPS), "--port", str(echo.port), *front)

    with Process(command) as process:
        assert process.wait() == 2
        assert process.output.wait_for_end() == []
        assert process.errors.wait_for_end() == [
            f"gateway: cannot listen on 127.0.0.1:{echo.port}: Address already in use; "
            "choose another --port, 0 for any free one"
        ]


@WITHOUT_TLS
def test_port_is_free_again_after_a_stop(serve: Serve) -> None:
    first = serve(ECHO)
    get(first, "/")
    first.stop()

    second = serve(ECHO, port=first.port)

    assert second.port == first.port
    assert get(second, "/")[0] == 200


# --- what is printed ---


def test_first_lines_say_where_it_listens_and_how_to_try_it(serve: Serve, front: list[str]) -> None:
    server = serve(ECHO)
    isolation = server.output.wait_for("^(in-process|isolation): .+").string

    is_https = server.url.startswith("https:")
    authority = f"{STATE.name}/albgate/ca.pem"
    trust, hints = "", list[str]()
    if is_https:
        trust = f"--cacert {authority} "
        hints = [f"browsers trust this certificate once {authority} is imported as an authority"]
        server.output.wait_for(f"^{hints[0]}$")
    assert server.output() == [
        f"listening on {server.url}",
        f"try: curl -i {trust}'{server.url}/any/path?x=1&x=2'",
        isolation,
        *hints,
        *filter(None, [root_warning()]),
    ]
    assert isolation.startswith("in-process" if "--in-process" in front else "isolation")
    assert ("which AWS never does" in isolation) == ("--in-process" in front)


def test_request_is_a_tidy_line(echo: Server) -> None:
    get(echo, "/tidy?x=1&x=2")

    assert echo.output.wait_for(
        r"^\d\d:\d\d:\d\d GET    /tidy\?x=1&x=2 +200 +\d+\.\d ms \(handler \d+\.\d ms\)$"
    )


def test_output_is_indented_beneath_its_request(echo: Server) -> None:
    before = len(echo.output())
    get(echo, "/print")
    get(echo, "/after")

    echo.output.wait_for("/after", after=before)
    lines = echo.output()
    [place] = [at for at, line in enumerate(lines) if " /print " in line]
    assert lines[place + 1 : place + 3] == ["    first line", r"    second \x1b[31mline"]


def test_502_is_followed_by_the_rule_that_was_broken(echo: Server) -> None:
    get(echo, "/bad-header")

    found = echo.output.wait_for("502 LambdaInvalidResponse")
    assert found.string == (
        "    502 LambdaInvalidResponse: headers.content-length is number 17; must be a string"
    )


def test_handlers_error_is_shown_with_its_trace_and_not_to_the_client(echo: Server) -> None:
    _, body = get(echo, "/raise")

    echo.output.wait_for("^    502 LambdaUnhandled: ValueError: no such customer$")
    echo.output.wait_for(r'^\s+File ".*/echo.py", line \d+, in failing$')
    assert b"customer" not in body


@pytest.mark.parametrize(
    "head",
    [
        b"GET /\x1b[31mred HTTP/1.1\r\nHost: x",
        b"GET /?\x1b]0;title\x07 HTTP/1.1\r\nHost: x",
        b"GET /\xc2\x9b31m HTTP/1.1\r\nHost: x",
        b"\x1b[2J / HTTP/1.1\r\nHost: x",
        b"GET /%1b[31mred HTTP/1.1\r\nHost: \x1b[31m\r\nUser-Agent: \x1b[31m",
    ],
    ids=["path", "query", "8-bit", "method", "headers"],
)
def test_strangers_cannot_drive_the_terminal(echo: Server, head: bytes) -> None:
    before = len(echo.output())
    with closing(connect(echo)) as connection:
        connection.connect()
        connection.sock.sendall(head + b"\r\nConnection: close\r\n\r\n")
        while connection.sock.recv(65536):
            pass
    get(echo, "/after")

    echo.output.wait_for("/after", after=before)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udc9f]", echo.output.text())
    assert echo.errors() == []


@ON_TWO
def test_quiet_prints_where_it_listens_and_no_more(serve: Serve) -> None:
    server = serve(ECHO, "--quiet")
    get(server, "/print")
    get(server, "/raise")
    server.stop()

    assert server.output.wait_for_end() == [f"listening on {server.url}"]
    assert server.errors.wait_for_end() == []


@ON_TWO
def test_json_lines_are_for_programs(serve: Serve) -> None:
    server = serve(ECHO, "--log-format", "json")
    get(server, "/print?x=1")
    get(server, "/bad-header")
    server.stop()

    lines = [json.loads(line) for line in server.output.wait_for_end() if line.startswith("{")]
    assert [line["path"] for line in lines] == ["/print", "/bad-header"]
    listener = server.url.replace("127.0.0.1:", "").replace("//", "")
    assert [line["listener"] for line in lines] == [listener, listener]
    assert [line["version"] for line in lines] == ["$LATEST", "$LATEST"]
    for line in lines:
        assert line["target_group_arn"].split("/")[1] == line["function"].replace("_", "-")
    assert lines[0]["query"] == "x=1"
    assert lines[0]["log"] == "first line\nsecond \x1b[31mline\n"
    assert lines[1]["status"] == 502
    assert lines[1]["error_reason"] == "LambdaInvalidResponse"
    assert lines[1]["detail"].startswith("headers.content-length is number 17")


@WITH_AND_WITHOUT_TLS
def test_access_log_has_the_33_fields(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    server = serve(ECHO, "--access-log", str(file))
    get(server, '/a%22b?x="y"')
    server.stop()

    [line] = file.read_text().splitlines()
    fields = FIELD.findall(line)
    assert len(fields) == 33
    assert fields[0] == server.url.partition(":")[0]
    assert fields[3].startswith("127.0.0.1:")
    assert fields[8:10] == ["200", "200"]
    assert fields[12].startswith(f'"GET {server.url}/a%22b?x=\\x22y\\x22 HTTP/1.1"')


@ON_TWO
def test_access_log_can_go_to_stdout(serve: Serve) -> None:
    server = serve(ECHO, "--access-log", "-", "--quiet")
    get(server, "/to-stdout")
    server.stop()

    announced, line = server.output.wait_for_end()
    assert announced.startswith("listening on ")
    assert len(FIELD.findall(line)) == 33

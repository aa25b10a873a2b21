"""What people do first: curl against the listener, byte for byte where the bytes are promised."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.serving import DEADLINE_SECONDS, ROOT, Server, connect, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: make tools installs it"),
]

ECHO = "echo.handler"
CHROME = "Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"
PADDING = b"<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
MEGABYTE = 1024 * 1024


@dataclass
class Reply:
    """One response as curl saw it, its header names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    said: str
    """What curl wrote to stderr."""
    version: str

    def written(self, *connection: str) -> list[str]:
        """Return what is in the responses of HTTP/1 alone, nothing for HTTP/2 (alb.md 2.3)."""
        return [] if self.version == "HTTP/2" else list(connection)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def names(self) -> list[str]:
        return [name for name, _ in self.headers]

    def json(self) -> Any:
        return json.loads(self.body)


def run_curl(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    limits = ("--silent", "--show-error", "--insecure", "--max-time", str(DEADLINE_SECONDS))
    command = ["curl", "--disable", "--noproxy", "*", *limits, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def curl(*arguments: str, stdin: bytes = b"") -> Reply:
    """Return the last response; interim ones (100 Continue) come before it."""
    done = run_curl("--include", "--globoff", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    rest = done.stdout
    status = 100
    lines: list[str] = []
    while status < 200:
        head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
    pairs = [line.partition(":") for line in lines]
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    return Reply(status, headers, rest, done.stderr.decode(), first.partition(" ")[0])


def page(title: str) -> bytes:
    """Return ALB's page as alb.md 5.2 has it."""
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    ).encode()


@pytest.fixture(scope="module")
def echo(shared: Serve) -> Server:
    return shared(ECHO)


@pytest.fixture(scope="module")
def multi(shared: Serve) -> Server:
    return shared(ECHO, "--multi-value-headers")


@pytest.fixture(scope="module")
def faithful(shared: Serve) -> Server:
    return shared(ECHO, "--multi-value-headers", "--faithful")


@pytest.fixture(scope="module")
def hello(front: list[str]) -> Iterator[Server]:
    with serving("app.handler", *front, code=ROOT / "examples" / "hello") as server:
        yield server


# --- the README's example ---


def test_readme_request_gets_the_greeting(hello: Server) -> None:
    reply = curl(f"{hello.url}/any/path?x=1&x=2")

    assert reply.status == 200
    assert reply.body == b"Hello from Lambda! GET /any/path\n"


def test_reply_carries_the_headers_of_alb_in_its_order(hello: Server) -> None:
    reply = curl(f"{hello.url}/any/path?x=1&x=2")

    names = ["server", "date", "content-type", "content-length", *reply.written("connection")]
    assert reply.names() == names
    assert reply.all("server") == ["awselb/2.0"]
    assert reply.all("connection") == reply.written("keep-alive")
    assert reply.all("date")[0].endswith(" GMT")


def test_curl_line_that_serve_prints_works(hello: Server) -> None:
    line = hello.output.wait_for(r"^try: curl -i (?P<options>.*)'(?P<url>[^']+)'$")

    assert curl(*line["options"].split(), line["url"]).status == 200


def test_picture_arrives_as_base64(hello: Server, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)

    reply = curl("--data-binary", f"@{photo}", "-H", "content-type: image/png", hello.url)

    length = len(base64.b64encode(PNG))
    assert f"{length} characters of base64".encode() in reply.body


# --- bodies ---


def test_binary_body_is_base64_and_complete(echo: Server) -> None:
    event = curl("--data-binary", "@-", "-H", "Content-Type: image/png", echo.url, stdin=PNG).json()

    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == PNG


def test_json_body_is_text(echo: Server) -> None:
    sent = '{"name": "Zoë"}'
    kind = "Content-Type: application/json; charset=utf-8"

    event = curl("--data-raw", sent, "-H", kind, echo.url).json()

    assert (event["isBase64Encoded"], event["body"]) == (False, sent)


def test_form_is_base64(echo: Server) -> None:
    event = curl("-d", "a=1&b=%20", echo.url).json()

    assert event["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert (event["isBase64Encoded"], event["body"]) == (True, "YT0xJmI9JTIw")


def test_text_with_a_content_encoding_is_base64(echo: Server) -> None:
    kinds = ("-H", "Content-Type: text/plain", "-H", "Content-Encoding: identity")

    event = curl("-d", "text", *kinds, echo.url).json()

    assert (event["isBase64Encoded"], event["body"]) == (True, "dGV4dA==")


def test_chunked_body_arrives_whole_and_without_its_framing(echo: Server) -> None:
    chunked = ("-H", "Transfer-Encoding: chunked", "-H", "Content-Type: text/plain")

    event = curl("--data-binary", "@-", *chunked, echo.url, stdin=b"x" * 70_000).json()

    assert event["body"] == "x" * 70_000
    assert not {"transfer-encoding", "content-length"} & set(event["headers"])


def test_expect_is_answered_and_not_passed_on(echo: Server) -> None:
    reply = curl("-d", "x", "-H", "Expect: 100-continue", "--verbose", echo.url)

    assert ("100 Continue" in reply.said) is (reply.version != "HTTP/2")  # alb.md 1.6
    assert "expect" not in reply.json()["headers"]


def test_one_megabyte_is_accepted(echo: Server) -> None:
    sent = b"x" * MEGABYTE
    kind = ("-H", "Content-Type: text/plain")

    reply = curl("--data-binary", "@-", *kind, f"{echo.url}/size", stdin=sent)

    assert (reply.status, reply.body) == (200, b"1048576")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="curl's own Expect"),
        pytest.param(["-H", "Expect:"], id="without Expect"),
        pytest.param(["-H", "Expect:", "-H", "Transfer-Encoding: chunked"], id="chunked"),
    ],
)
def test_two_megabytes_are_refused_in_a_way_that_curl_sees(
    echo: Server, options: list[str]
) -> None:
    sent = b"x" * 2 * MEGABYTE

    reply = curl("--data-binary", "@-", *options, echo.url, stdin=sent)

    assert reply.status == 413
    assert reply.body == page("413 Request Entity Too Large")
    assert reply.all("connection") == reply.written("close")


def test_client_that_reads_only_after_it_sent_all_sees_the_refusal_too(echo: Server) -> None:
    with closing(connect(echo)) as connection:
        connection.request("POST", "/", body=b"x" * 2 * MEGABYTE)
        response = connection.getresponse()

        assert (response.status, response.read()) == (413, page("413 Request Entity Too Large"))


# --- replies ---


def test_head_has_the_length_and_no_body(echo: Server) -> None:
    got = curl(f"{echo.url}/binary")
    head = curl("--head", f"{echo.url}/binary")

    assert (head.status, head.body) == (200, b"")
    assert head.all("content-length") == ["256"] == got.all("content-length")
    assert head.names() == got.names()


def test_binary_reply_is_decoded(echo: Server) -> None:
    reply = curl(f"{echo.url}/binary")

    assert reply.body == bytes(range(256))
    assert reply.all("content-type") == ["image/png"]


def test_204_has_neither_body_nor_length(echo: Server) -> None:
    reply = curl(f"{echo.url}/204")

    assert (reply.status, reply.body) == (204, b"")
    assert not {"content-length", "content-type", "transfer-encoding"} & set(reply.names())


def test_cookies_leave_in_the_order_given(multi: Server) -> None:
    reply = curl(f"{multi.url}/cookies")

    assert reply.all("set-cookie") == ["a=1", "a=2", "b=3"]
    assert reply.names()[-4:] == ["set-cookie", "set-cookie", "set-cookie", "x-last"]


def test_faithful_reverses_them(faithful: Server) -> None:
    reply = curl(f"{faithful.url}/cookies")

    assert reply.all("set-cookie") == ["b=3", "a=2", "a=1"]
    assert reply.names()[-4:] == ["x-last", "set-cookie", "set-cookie", "set-cookie"]


def test_cookie_that_is_set_twice_brings_one_hint(multi: Server) -> None:
    before = len(multi.output())
    curl(f"{multi.url}/cookies", f"{multi.url}/cookies")
    curl(f"{multi.url}/after-the-hint")

    multi.output.wait_for("/after-the-hint", after=before)
    hints = [line for line in multi.output() if "--faithful" in line]
    assert len(hints) == 1


def test_single_value_mode_sends_every_spelling(echo: Server) -> None:
    reply = curl(f"{echo.url}/spelled-cookies")

    assert reply.all("set-cookie") == ["a=1", "b=2"]


def test_curl_keeps_and_returns_cookies(multi: Server, tmp_path: Path) -> None:
    jar = ("--cookie-jar", str(tmp_path / "jar"), "--cookie", str(tmp_path / "jar"))
    curl(*jar, f"{multi.url}/cookies")

    event = curl(*jar, multi.url).json()

    [cookie] = event["multiValueHeaders"]["cookie"]
    assert sorted(cookie.split("; ")) == ["a=2", "b=3"]


# --- what the listener answers itself ---


def test_trace_gets_405_and_the_page(echo: Server) -> None:
    reply = curl("--request", "TRACE", echo.url)

    assert (reply.status, reply.body) == (405, page("405 Not Allowed"))
    assert reply.all("server") == ["awselb/2.0"]


def test_websocket_gets_400_and_the_page(echo: Server) -> None:
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    options = [part for line in [*upgrade, key] for part in ("-H", line)]

    reply = curl("--http1.1", *options, echo.url)

    assert (reply.status, reply.body) == (400, page("400 Bad Request"))
    assert reply.all("connection") == ["close"]


@pytest.mark.parametrize(("count", "status"), [(30, 200), (31, 463)])
def test_thirty_forwarded_addresses_are_the_limit(echo: Server, count: int, status: int) -> None:
    addresses = ", ".join(f"198.51.100.{number}" for number in range(count))

    reply = curl("-H", f"X-Forwarded-For: {addresses}", echo.url)

    assert reply.status == status


@pytest.mark.parametrize("path", ["/raise", "/bad-header", "/exit", "/interrupt"])
def test_failure_is_albs_502_to_the_byte(echo: Server, path: str) -> None:
    reply = curl(echo.url + path)

    assert reply.status == 502
    names = ["server", "date", "content-type", "content-length", *reply.written("connection")]
    assert reply.names() == names
    assert reply.all("content-type") == ["text/html"]
    assert reply.all("content-length") == ["122"]
    assert reply.all("connection") == reply.written("keep-alive")
    assert reply.body == page("502 Bad Gateway")


def test_chrome_gets_the_padded_502(echo: Server) -> None:
    reply = curl("--user-agent", CHROME, f"{echo.url}/raise")

    assert reply.body == page("502 Bad Gateway") + PADDING
    assert reply.all("content-length") == ["524"]


# --- connections ---


def test_http_1_0_closes_the_connection(echo: Server) -> None:
    reply = curl("--http1.0", echo.url)

    assert reply.status == 200
    assert reply.all("connection") == ["close"]


def test_http_1_0_without_host_gets_the_name_of_the_load_balancer(echo: Server) -> None:
    event = curl("--http1.0", "-H", "Host:", echo.url).json()

    assert event["headers"]["host"] == (f"apps-1234567890.us-east-1.elb.amazonaws.com:{echo.port}")


def test_two_requests_share_a_connection(echo: Server) -> None:
    shown = ("--write-out", "%{num_connects} ", "--output", "/dev/null")
    done = run_curl(*shown, f"{echo.url}/one", "--output", "/dev/null", f"{echo.url}/raise")

    assert done.stdout == b"1 0 "


def test_connection_survives_a_failure_of_the_handler(echo: Server) -> None:
    shown = ("--write-out", "%{http_code}:%{num_connects} ", "--output", "/dev/null")
    done = run_curl(*shown, f"{echo.url}/raise", "--output", "/dev/null", f"{echo.url}/two")

    assert done.stdout == b"502:1 200:0 "


def test_close_is_honoured(echo: Server) -> None:
    reply = curl("-H", "Connection: close", echo.url)

    assert reply.all("connection") == reply.written("close")
    assert reply.json()["headers"].get("connection") == next(iter(reply.written("close")), None)


# --- the event ---


def test_event_has_the_keys_of_alb_and_no_others(echo: Server) -> None:
    event = curl("-A", "curl", f"{echo.url}/any/path?x=1&x=2").json()

    trace_id = event["headers"].pop("x-amzn-trace-id")
    assert trace_id.startswith("Root=1-")
    assert event == {
        "requestContext": {
            "elb": {
                "targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012"
                ":targetgroup/apps/d56f6359d240f69e"
            }
        },
        "httpMethod": "GET",
        "path": "/any/path",
        "queryStringParameters": {"x": "2"},
        "headers": {
            "accept": "*/*",
            "host": f"127.0.0.1:{echo.port}",
            "user-agent": "curl",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": str(echo.port),
            "x-forwarded-proto": echo.url.partition(":")[0],
        },
        "body": "",
        "isBase64Encoded": False,
    }


def test_multi_value_mode_keeps_every_query_value_and_header_line(multi: Server) -> None:
    event = curl("-H", "X-Seen: one", "-H", "X-Seen: two, three", f"{multi.url}/?x=1&x=2&y").json()

    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "y": [""]}
    assert event["multiValueHeaders"]["x-seen"] == ["one", "two, three"]
    assert not {"headers", "queryStringParameters"} & set(event)


def test_single_value_mode_keeps_the_last(echo: Server) -> None:
    event = curl("-H", "X-Seen: one", "-H", "X-Seen: two", f"{echo.url}/?x=1&x=2").json()

    assert event["queryStringParameters"] == {"x": "2"}
    assert event["headers"]["x-seen"] == "two"


def test_path_and_query_are_not_touched(echo: Server) -> None:
    event = curl("--path-as-is", f"{echo.url}/a%2Fb/../c//d;e?x[]=%20+y&&a=b=c&%2f=%ZZ").json()

    assert event["path"] == "/a%2Fb/../c//d;e"
    assert event["queryStringParameters"] == {"x[]": "%20+y", "a": "b=c", "%2f": "%ZZ"}


def test_trace_id_is_continued(echo: Server) -> None:
    given = "Root=1-67891233-abcdef012345678912345678;CalledFrom=app"

    event = curl("-H", f"X-Amzn-Trace-Id: {given}", echo.url).json()

    self_field, _, rest = event["headers"]["x-amzn-trace-id"].partition(";")
    assert self_field.startswith("Self=1-")
    assert rest == given


def test_event_looks_as_if_it_came_through_another_listener(shared: Serve) -> None:
    server = shared(ECHO, "--as", "https://shop.example.org:443")

    headers = curl(f"{server.url}/cart").json()["headers"]

    assert headers["host"] == "shop.example.org"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-port"] == "443"


def test_host_that_names_a_domain_is_kept(shared: Serve) -> None:
    server = shared(ECHO, "--as", "https://shop.example.org:443")

    headers = curl("-H", "Host: Other.Example.org:8080", f"{server.url}/cart").json()["headers"]

    assert headers["host"] == "other.example.org"


FORWARDED = ("-H", "X-Forwarded-For: 127.0.0.4, 127.0.0.8")


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("append", (), "127.0.0.1"),
        ("append", FORWARDED, "127.0.0.4, 127.0.0.8, 127.0.0.1"),
        ("preserve", (), None),
        ("preserve", FORWARDED, "127.0.0.4, 127.0.0.8"),
        ("remove", (), None),
        ("remove", FORWARDED, None),
    ],
)
def test_forwarded_for_follows_its_mode(
    shared: Serve, mode: str, options: tuple[str, ...], expected: str | None
) -> None:
    server = shared(ECHO, "--attribute", f"routing.http.xff_header_processing.mode={mode}")

    headers = curl(*options, server.url).json()["headers"]

    assert headers.get("x-forwarded-for") == expected


def test_client_port_is_added(shared: Serve) -> None:
    server = shared(ECHO, "--attribute", "routing.http.xff_client_port.enabled=true")

    reply = curl("--write-out", "\n%{local_port}", server.url)

    event, _, port = reply.body.partition(b"\n")
    assert json.loads(event)["headers"]["x-forwarded-for"] == f"127.0.0.1:{port.decode()}"


def test_host_is_preserved(shared: Serve) -> None:
    server = shared(ECHO, "--attribute", "routing.http.preserve_host_header.enabled=true")

    headers = curl("-H", "Host: Shop.Example.org", server.url).json()["headers"]

    assert headers["host"] == "Shop.Example.org"


def test_host_is_lower_case_with_the_listeners_port_otherwise(echo: Server) -> None:
    headers = curl("-H", "Host: Shop.Example.org", echo.url).json()["headers"]

    assert headers["host"] == f"shop.example.org:{echo.port}"


def test_server_header_can_be_switched_off_and_others_on(shared: Serve) -> None:
    server = shared(
        ECHO,
        "--attribute",
        "routing.http.response.server.enabled=false",
        "--attribute",
        "routing.http.response.x_frame_options.header_value=DENY",
    )

    for path in ("/", "/raise"):
        reply = curl(server.url + path)
        assert reply.all("server") == []
        assert reply.all("x-frame-options") == ["DENY"]

"""What people do first: curl against the listener, byte for byte where the bytes are promised."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import WITH_AND_WITHOUT_TLS, Serve
from tests.e2e.curl import CHROME, ECHO, MEGABYTE, PADDING, PNG, curl, page, run_curl
from tests.e2e.serving import ROOT, Server, connect, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: make tools installs it"),
]


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


@WITH_AND_WITHOUT_TLS
def test_cookies_leave_in_the_order_given(multi: Server) -> None:
    reply = curl(f"{multi.url}/cookies")

    assert reply.all("set-cookie") == ["a=1", "a=2", "b=3"]
    assert reply.names()[-4:] == ["set-cookie", "set-cookie", "set-cookie", "x-last"]


@WITH_AND_WITHOUT_TLS
def test_faithful_reverses_them(faithful: Server) -> None:
    reply = curl(f"{faithful.url}/cookies")

    assert reply.all("set-cookie") == ["b=3", "a=2", "a=1"]
    assert reply.names()[-4:] == ["x-last", "set-cookie", "set-cookie", "set-cookie"]


@WITH_AND_WITHOUT_TLS
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


@WITH_AND_WITHOUT_TLS
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

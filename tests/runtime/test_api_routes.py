"""What the Runtime API answers where, over real sockets."""

import json

import pytest

from gateway.core.environment import Refused
from tests.runtime.api_client import NEXT, connected, post
from tests.runtime.api_rig import OK, Fake, served, talking


@pytest.mark.parametrize(
    ("request_bytes", "status", "content_type", "body"),
    [
        (b"GET /2018-06-01/ping", 200, "text/plain; charset=utf-8", b"pong"),
        (b"GET /2018-06-01/nothing", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        (b"GET /", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        (b"GET /2018-06-01/runtime/restore/next", 404, None, b"404 page not found\n"),
        (b"POST /2018-06-01/runtime/restore/error", 404, None, b"404 page not found\n"),
        (b"POST /2020-01-01/extension/register", 404, None, b"404 page not found\n"),
        (b"POST /2018-06-01/ping", 405, None, b""),
        (b"GET /2018-06-01/runtime/invocation/a/response", 405, None, b""),
        (b"PUT /2018-06-01/runtime/init/error", 405, None, b""),
        (
            b"PUT /2020-08-15/logs",
            202,
            "application/json",
            b'{"errorMessage":"Logs API is not supported","errorType":"Logs.NotSupported"}',
        ),
        (
            b"PUT /2022-07-01/telemetry",
            202,
            "application/json",
            b'{"errorMessage":"Telemetry API is not supported",'
            b'"errorType":"Telemetry.NotSupported"}',
        ),
    ],
)
async def test_every_path_has_its_answer(
    request_bytes: bytes, status: int, content_type: str | None, body: bytes
) -> None:
    async with talking(Fake()) as client:
        answer = await client.ask(
            request_bytes + b" HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n"
        )

    assert (answer.status, answer.body) == (status, body)
    assert content_type in {None, answer.headers.get("Content-Type")}


async def test_answers_reach_the_platform() -> None:
    platform = Fake()
    async with talking(platform) as client:
        first = await client.ask(post("invocation/a/response", b"1", "X-A: b"))
        second = await client.ask(post("invocation/b/error", b"no json"))
        third = await client.ask(post("init/error", b"{}"))

    assert [answer[::2] for answer in (first, second, third)] == [(202, OK)] * 3
    assert first.headers["Content-Type"] == "application/json"
    assert platform.responses[0][0] == "a"
    assert platform.responses[0][1].body == b"1"
    assert platform.responses[0][1].header(b"x-a") == "b"
    assert (platform.errors[0][0], platform.errors[0][1].body) == ("b", b"no json")
    assert platform.init_errors[0].body == b"{}"


@pytest.mark.parametrize(
    "request_bytes",
    [NEXT, post("invocation/a/response"), post("invocation/a/error"), post("init/error")],
)
async def test_a_refusal_is_an_error_in_json(request_bytes: bytes) -> None:
    platform = Fake()
    platform.refusal = Refused(403, "InvalidStateTransition", "not now")
    async with talking(platform) as client:
        answer = await client.ask(request_bytes)

    assert answer.status == 403
    assert answer.headers["Content-Type"] == "application/json"
    expected = {"errorMessage": "not now", "errorType": "InvalidStateTransition"}
    assert json.loads(answer.body) == expected


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("click,fast_api", [["click", "fast_api"]]),
        ("a-b,,1a,x%20,ok", [["ok"]]),
        ("%1b[2J", []),
        ("", []),
        ("x" * 20_000, [["x" * (16 * 1024 - len("/2018-06-01/runtime/packages?"))]]),
    ],
)
async def test_imported_packages_are_names_and_nothing_else(
    query: str, names: list[list[str]]
) -> None:
    platform = Fake()
    async with talking(platform) as client:
        answer = await client.ask(post(f"packages?{query}", b""))

    assert answer.status == 202
    assert platform.imports == names


async def test_an_escaped_request_id_is_unescaped() -> None:
    platform = Fake()
    async with talking(platform) as client:
        await client.ask(post("invocation/a%2Db%20c/response"))

    assert platform.responses[0][0] == "a-b c"


async def test_a_cause_for_x_ray_is_not_the_callers() -> None:
    platform = Fake()
    kind = "Content-Type: application/vnd.aws.lambda.error.cause+json"
    body = b'{"errorMessage":"m","errorCause":{}}'
    async with talking(platform) as client:
        await client.ask(post("invocation/a/error", body, kind))
        await client.ask(post("invocation/a/error", b"?", kind))

    assert [posted.body for _, posted in platform.errors] == [
        b'{"errorMessage":"m"}',
        b'"Invalid error body"',
    ]


FOREIGN_HEADS = {
    "a name": "Host: evil.example:PORT",
    "localhost": "Host: localhost:PORT",
    "no port": "Host: 127.0.0.1",
    "another port": "Host: 127.0.0.1:1",
    "another address": "Host: 127.0.0.2:PORT",
    "an empty host": "Host: ",
    "a second host": "Host: 127.0.0.1:PORT\r\nHost: evil.example",
    "a first host": "hOST: evil.example\r\nHost: 127.0.0.1:PORT",
    "an origin": "Host: 127.0.0.1:PORT\r\nOrigin: http://evil.example",
    "its own origin": "Host: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT",
    "a null origin": "Host: 127.0.0.1:PORT\r\norigin: null",
    "a fetch": "Host: 127.0.0.1:PORT\r\nSec-Fetch-Site: cross-site",
    "a navigation": "Host: 127.0.0.1:PORT\r\nsec-fetch-site: none",
}


@pytest.mark.parametrize("line", ["GET {}/invocation/next", "POST {}/invocation/a/response"])
@pytest.mark.parametrize("head", FOREIGN_HEADS)
async def test_a_web_page_is_refused_by_its_head(head: str, line: str) -> None:
    platform = Fake()
    async with talking(platform) as client:
        lines = FOREIGN_HEADS[head].replace("PORT", client.address.split(":")[1])
        length = "Content-Length: 1000000\r\n" if line.startswith("POST") else ""
        start = line.format("/2018-06-01/runtime")
        answer = await client.ask(f"{start} HTTP/1.1\r\n{lines}\r\n{length}\r\n".encode())

        assert (answer.status, answer.headers["Content-Type"]) == (403, "application/json")
        assert json.loads(answer.body).keys() == {"errorMessage", "errorType"}
        assert await client.is_at_end()
    assert platform.told == []


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "Sec-Fetch-Mode: cors\r\n",  # Node's fetch sends this one
        "X-Origin: a\r\n",
    ],
)
async def test_a_runtime_is_not_a_web_page(lines: str) -> None:
    async with talking(Fake()) as client:
        head = NEXT.replace(b"\r\n\r\n", f"\r\n{lines}\r\n".encode())
        assert (await client.ask(head)).status == 200
        assert (await client.ask(NEXT.replace(b"Host: HOST\r\n", b""))).status == 200


@pytest.mark.parametrize(
    "start",
    [
        "POST {}/invocation/unknown/response",
        "POST {}/invocation/unknown/error",
        "POST {}/init/error",
        "POST {}/nothing",
        "POST /2018-06-01/ping",
        "PUT {}/invocation/a/response",
        "PUT /2022-07-01/telemetry",
    ],
)
async def test_what_the_head_decides_is_answered_before_the_body(start: str) -> None:
    platform = Fake()
    platform.refusal = Refused(400, "InvalidRequestID", "Invalid request ID")
    async with served(platform) as server, connected(server.address) as client:
        line = start.format("/2018-06-01/runtime")
        head = f"{line} HTTP/1.1\r\nHost: HOST\r\nContent-Length: 300000\r\n\r\n"
        early = await client.ask(head.encode())
        await client.send(bytes(200_000), bytes(100_000))
        platform.refusal = None

        assert early.status in {202, 400, 404, 405}
        assert (await client.ask(NEXT)).status == 200  # the same connection goes on
    assert platform.responses == platform.errors == platform.init_errors == []
    assert platform.truncations == []

"""The test client that users get: a handler, httpx and nothing between them but the codec."""

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from gateway.core.errors import InvalidSetting, Throttled
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.interfaces import Clock, Invoker, Sink
from gateway.core.invocation import FunctionRef, Invocation, InvocationResult
from gateway.core.notices import FunctionReloaded, OperatorWarning, RequestServed
from gateway.testing import FakeClock, FakeInvoker, FakeSink, async_client, client
from tests.telemetry.served import LISTENER

Json = dict[str, Any]


def hello(event: Json, context: Any) -> Json:
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "hello"}


def echo(event: Json, context: Any) -> Json:
    return {"statusCode": 200} | {key: event[key] for key in ("body", "isBase64Encoded")}


def test_handler_answers_through_httpx() -> None:
    with client(hello) as web:
        response = web.get("/shop?tag=x")

    assert (response.status_code, response.reason_phrase, response.text) == (200, "OK", "hello")
    assert response.headers["content-type"] == "text/plain"


async def test_handler_answers_an_asynchronous_client() -> None:
    async with async_client(hello) as web:
        response = await web.get("/shop?tag=x")

    assert (response.status_code, response.reason_phrase, response.text) == (200, "OK", "hello")
    assert web.events[0]["path"] == "/shop"
    assert web.results == [hello({}, None)]


def test_events_and_results_are_kept_in_order() -> None:
    with client(echo) as web:
        web.get("/a")
        web.post("/b", json={"c": 1})

    assert [event["path"] for event in web.events] == ["/a", "/b"]
    assert [result["body"] for result in web.results] == ["", '{"c":1}']
    assert [outcome.error_reason for outcome in web.outcomes] == ["", ""]


def test_event_is_the_load_balancers() -> None:
    with client(hello) as web:
        web.get("/a%2Fb?x=1&x=%20", headers={"X-A": "1"})

    event = web.events[0]
    assert event["path"] == "/a%2Fb"
    assert event["queryStringParameters"] == {"x": "%20"}
    assert event["headers"]["host"] == "shop.example.org"
    assert event["headers"]["x-a"] == "1"
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert event["headers"]["x-amzn-trace-id"].startswith("Root=1-")
    assert (event["headers"]["x-forwarded-proto"], event["headers"]["x-forwarded-port"]) == (
        "http",
        "80",
    )


@pytest.mark.parametrize(
    ("url", "scheme", "port", "host"),
    [
        ("http://localhost:8080", "http", "8080", "localhost:8080"),
        ("https://shop.example.org", "https", "443", "shop.example.org"),
        ("http://127.0.0.1", "http", "80", "127.0.0.1"),
    ],
)
def test_url_is_that_of_the_listener(url: str, scheme: str, port: str, host: str) -> None:
    with client(hello, url) as web:
        web.get("/")

    headers = web.events[0]["headers"]
    assert (headers["x-forwarded-proto"], headers["x-forwarded-port"], headers["host"]) == (
        scheme,
        port,
        host,
    )


def test_url_that_names_no_listener_is_refused() -> None:
    with pytest.raises(InvalidSetting):
        client(hello, "shop.example.org")


def test_multi_value_mode_reaches_event_and_reply() -> None:
    def cookies(event: Json, context: Any) -> Json:
        return {"statusCode": 200, "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]}}

    with client(cookies, multi_value_headers=True) as web:
        response = web.get("/?x=1&x=2")

    assert web.events[0]["multiValueQueryStringParameters"] == {"x": ["1", "2"]}
    assert "headers" not in web.events[0]
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert dict(web.cookies) == {"a": "1", "b": "2"}


def test_faithful_client_reverses_headers_as_alb_does() -> None:
    def cookies(event: Json, context: Any) -> Json:
        return {"statusCode": 200, "multiValueHeaders": {"Set-Cookie": ["a=1", "a=2"]}}

    with client(cookies, multi_value_headers=True, faithful=True) as web:
        response = web.get("/")

    assert response.headers.get_list("set-cookie") == ["a=2", "a=1"]


def test_attributes_are_awss_settings() -> None:
    attributes = [
        "routing.http.xff_header_processing.mode=remove",
        "routing.http.response.server.enabled=false",
        "routing.http.response.x_frame_options.header_value=DENY",
    ]

    with client(hello, attributes=attributes) as web:
        response = web.get("/")

    assert "x-forwarded-for" not in web.events[0]["headers"]
    assert "server" not in response.headers
    assert response.headers["x-frame-options"] == "DENY"


def test_unknown_attribute_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="unknown attribute 'x'"):
        client(hello, attributes=["x=1"])


def test_other_options_are_httpxs() -> None:
    with client(hello, headers={"X-A": "1"}, params={"x": "1"}) as web:
        web.get("/")

    assert web.events[0]["headers"]["x-a"] == "1"
    assert web.events[0]["queryStringParameters"] == {"x": "1"}


@pytest.mark.parametrize("body", [b"", b"text", bytes(range(256))])
def test_body_goes_there_and_back(body: bytes) -> None:
    with client(echo) as web:
        response = web.post("/", content=body)

    assert response.content == body


async def test_streamed_bodies_arrive_whole() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"hel"
        yield b"lo"

    def same() -> Iterator[bytes]:
        yield b"hel"
        yield b"lo"

    async with async_client(echo) as web:
        assert (await web.post("/", content=parts())).content == b"hello"
    with client(echo) as web:
        assert web.post("/", content=same()).content == b"hello"


def test_compressed_body_is_unpacked_by_httpx() -> None:
    def compressed(event: Json, context: Any) -> Json:
        return echo(event, context) | {"headers": {"Content-Encoding": "gzip"}}

    with client(compressed) as web:
        response = web.post("/", content=gzip.compress(b"hello"))

    assert response.text == "hello"


def test_headers_are_as_on_the_wire() -> None:
    with client(hello) as web:
        response = web.get("/")

    names = [name for name, _ in response.headers.raw]
    assert names == [b"Server", b"Date", b"content-type", b"Content-Length", b"Connection"]
    assert response.headers["connection"] == "keep-alive"


def test_connection_closes_where_the_listener_closes_it() -> None:
    with client(hello) as web:
        refused = web.post("/", content=bytes(1024 * 1024 + 1))
        wished = web.get("/", headers={"Connection": "close"})

    assert (refused.status_code, refused.headers["connection"]) == (413, "close")
    assert (wished.status_code, wished.headers["connection"]) == (200, "close")


def test_status_line_is_the_functions() -> None:
    def fine(event: Json, context: Any) -> Json:
        return {"statusCode": 200, "statusDescription": "200 Fine"}

    with client(fine) as web:
        response = web.get("/")

    assert (response.http_version, response.reason_phrase) == ("HTTP/1.1", "Fine")


def test_date_has_the_form_of_http() -> None:
    with client(hello) as web:
        response = web.get("/")

    assert response.headers["date"].endswith(" GMT")
    assert parsedate_to_datetime(response.headers["date"]).tzinfo is not None


def test_peer_has_an_address_and_a_port() -> None:
    with client(hello, attributes=["routing.http.xff_client_port.enabled=true"]) as web:
        web.get("/")

    assert web.events[0]["headers"]["x-forwarded-for"] == "127.0.0.1:40111"


def test_head_gets_the_length_and_no_body() -> None:
    with client(hello) as web:
        response = web.head("/")

    assert (response.headers["content-length"], response.content) == ("5", b"")


def test_bad_reply_is_a_502_whose_reason_is_in_outcomes() -> None:
    with client(lambda event, context: {"statusCode": "200"}) as web:
        response = web.get("/")

    assert response.status_code == 502
    assert "502 Bad Gateway" in response.text
    assert web.results == [{"statusCode": "200"}]
    assert web.outcomes[0].error_reason == "LambdaInvalidResponse"
    assert web.outcomes[0].detail == "statusCode is string '200'; must be an integer"


def test_handler_that_raises_is_a_502_with_its_error_in_results() -> None:
    def broken(event: Json, context: Any) -> Json:
        raise KeyError("name")

    with client(broken) as web:
        response = web.get("/")

    assert response.status_code == 502
    assert web.results[0]["errorType"] == "KeyError"
    assert web.outcomes[0].error_reason == "LambdaUnhandled"
    assert web.outcomes[0].detail == "KeyError: 'name'"


@pytest.mark.parametrize(
    ("result", "recorded"),
    [
        (b"no JSON", "no JSON"),
        (b"\xff", "\ufffd"),
        ({"statusCode": 200, "x": float("nan")}, '{"statusCode": 200, "x": NaN}'),
        ({"statusCode": 200, "body": "\ud800"}, '{"statusCode": 200, "body": "\\ud800"}'),
    ],
)
def test_result_that_alb_cannot_read_is_a_502_and_recorded_as_text(
    result: Any, recorded: str
) -> None:
    with client(lambda event, context: result) as web:
        response = web.get("/")

    assert response.status_code == 502
    assert web.results == [recorded]
    assert web.outcomes[0].error_reason == "LambdaInvalidResponse"


def test_refused_request_never_reaches_the_handler() -> None:
    with client(hello) as web:
        response = web.request("TRACE", "/")

    assert response.status_code == 405
    assert (web.events, web.results) == ([], [])
    assert web.outcomes[0].detail == "TRACE is not allowed by ALB"


def test_handler_gets_a_context_like_lambdas() -> None:
    seen: list[Any] = []

    def handler(event: Json, context: Any) -> Json:
        seen.append(context)
        seen.append(context.get_remaining_time_in_millis())
        return {"statusCode": 200}

    with client(handler, timeout_seconds=60) as web:
        web.get("/")

    context, remaining = seen
    assert context.function_name == "test"
    assert context.function_version == "$LATEST"
    assert context.memory_limit_in_mb == "128"
    assert context.invoked_function_arn == ("arn:aws:lambda:us-east-1:123456789012:function:test")
    assert context.aws_request_id == web.outcomes[0].request_id
    assert 0 < remaining <= 60_000


def test_outcome_says_what_the_function_answered() -> None:
    with client(lambda event, context: {"statusCode": 404}) as web:
        web.get("/")

    assert (web.outcomes[0].target_status, web.outcomes[0].error_reason) == (404, "")


def test_handler_may_be_any_callable() -> None:
    class App:
        def __call__(self, event: Json, context: Any) -> Json:
            return {"statusCode": 200, "body": json.dumps(event["path"])}

    with client(App()) as web:
        assert web.get("/a").json() == "/a"


# The fakes.


def test_clock_moves_only_when_it_is_moved() -> None:
    clock: Clock = FakeClock(100.0)

    assert (clock.now(), clock.monotonic(), clock.now()) == (100.0, 100.0, 100.0)


def test_clock_moves_both_its_hands() -> None:
    clock = FakeClock()
    before = clock.now()

    clock.advance(2.5)

    assert (clock.now(), clock.monotonic()) == (before + 2.5, before + 2.5)


async def test_invoker_gives_its_answers_in_order_and_remembers_the_questions() -> None:
    first, second = InvocationResult(b"1"), InvocationResult(b"2", function_error="Unhandled")
    asked = [Invocation(name, FunctionRef("f", "", "arn"), b"{}") for name in "ab"]
    fake = FakeInvoker([first, second])
    invoker: Invoker = fake

    assert [await invoker.invoke(invocation) for invocation in asked] == [first, second]
    assert fake.invocations == asked


async def test_invoker_raises_an_answer_that_is_an_error() -> None:
    invocation = Invocation("a", FunctionRef("f", "", "arn"), b"{}")
    fake = FakeInvoker([Throttled("busy")])

    with pytest.raises(Throttled, match="busy"):
        await fake.invoke(invocation)
    assert fake.invocations == [invocation]


def test_sink_keeps_every_notice() -> None:
    fake = FakeSink()
    sink: Sink = fake
    request = HttpRequest("GET", b"/", b"/", b"", [])
    notices = [
        RequestServed(request, HttpResponse(200, "OK", []), 200, 0, 0.0, LISTENER),
        FunctionReloaded("app.handler"),
        OperatorWarning("text"),
    ]

    for notice in notices:
        sink.emit(notice)

    assert fake.notices == notices

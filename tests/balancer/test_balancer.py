"""Every way a forward can go, and what client, operator and access log get of it."""

import json
from typing import Any

import pytest

from gateway.balancer.balancer import Balancer, Forward, error_text
from gateway.core.alb import REQUEST_BODY_LIMIT, AlbCodec
from gateway.core.attributes import Attributes
from gateway.core.errors import (
    BadFunctionResponse,
    BadRequestContent,
    CircuitOpen,
    ClientLeft,
    ConnectionTimedOut,
    FunctionNotFound,
    FunctionUnhandled,
    GatewayError,
    IncompleteRequest,
    InvalidSetting,
    InvocationFailed,
    MethodNotAllowed,
    RequestRefused,
    RequestTooLarge,
    ResponseTooLarge,
    ServiceFailed,
    ServiceInterrupted,
    ServiceRefused,
    ServiceTimedOut,
    ServiceUnreachable,
    Throttled,
    TooManyForwardedAddresses,
    WebSocketNotSupported,
)
from gateway.core.http import Forwarding, HttpRequest, HttpResponse
from gateway.core.invocation import FunctionRef, Invocation, InvocationResult, request_id
from gateway.core.listener import ListenerAddress
from gateway.core.outcomes import OUTCOMES
from gateway.core.pages import Pages
from gateway.testing import FakeClock, FakeInvoker

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"
FUNCTION = FunctionRef("shop", "", "arn:aws:lambda:eu-west-1:111122223333:function:shop")
LISTENER = ListenerAddress("http", 80, "shop-1234567890.eu-west-1.elb.amazonaws.com")

NOW = 1_700_000_000.5
TRACE_DIGITS = "0123456789abcdef01234567"
REQUEST_DIGITS = "fedcba9876543210fedcba9876543210"
TRACE_ID = f"Root=1-6553f100-{TRACE_DIGITS}"
REQUEST_ID = request_id(REQUEST_DIGITS)


def told(forwarding: Forwarding) -> dict[str, Any]:
    """Return everything that a forwarding says."""
    return {name: getattr(forwarding, name) for name in Forwarding.__annotations__}


def draw(count: int) -> str:
    digits = TRACE_DIGITS + REQUEST_DIGITS
    assert count == len(digits)
    return digits


def balancer(invoker: Any, clock: FakeClock | None = None, **attributes: Any) -> Balancer:
    chosen = Attributes(**attributes)
    group = Forward(ARN, FUNCTION, AlbCodec(ARN, LISTENER, chosen))
    return Balancer(group, invoker, pages=Pages(chosen), clock=clock or FakeClock(NOW), draw=draw)


def asked(method: str = "GET", **fields: Any) -> HttpRequest:
    headers = fields.pop("headers", [])
    return HttpRequest(method, b"/cart?x=1", b"/cart", b"x=1", headers, **fields)


def reply(**members: Any) -> InvocationResult:
    return InvocationResult(json.dumps(members).encode())


async def respond(
    answer: InvocationResult | GatewayError, request: HttpRequest | None = None, **attributes: Any
) -> HttpResponse:
    return await balancer(FakeInvoker([answer]), **attributes).respond(request or asked())


# The function answered


async def test_reply_becomes_the_response() -> None:
    headers = {"Content-Type": "text/plain", "X-Shop": "1"}

    response = await respond(reply(statusCode=201, headers=headers, body="made"))

    assert (response.status, response.reason, response.body) == (201, "Created", b"made")
    assert response.headers == [
        (b"Server", b"awselb/2.0"),
        (b"Content-Type", b"text/plain"),
        (b"Content-Length", b"4"),
        (b"X-Shop", b"1"),
    ]


async def test_invocation_carries_the_event_under_fresh_ids() -> None:
    invoker = FakeInvoker([reply(statusCode=200)])

    await balancer(invoker).respond(asked())

    sent = invoker.invocations[0]
    event = json.loads(sent.payload)
    assert (sent.request_id, sent.function, sent.trace_id) == (REQUEST_ID, FUNCTION, TRACE_ID)
    assert (event["path"], event["queryStringParameters"]) == ("/cart", {"x": "1"})
    assert event["headers"]["x-amzn-trace-id"] == TRACE_ID
    assert event["requestContext"] == {"elb": {"targetGroupArn": ARN}}


async def test_forwarding_of_a_served_request_is_complete() -> None:
    clock = FakeClock(NOW)

    class Slow(FakeInvoker):
        async def invoke(self, invocation: Invocation, /) -> InvocationResult:
            clock.advance(0.25)
            return await super().invoke(invocation)

    request = asked()
    answer = InvocationResult(b'{"statusCode": 404}', "7", log="looked\n")

    response = await balancer(Slow([answer]), clock).respond(request)

    assert request.trace_id == TRACE_ID
    assert told(response.forwarding) == told(
        Forwarding(
            request_id=REQUEST_ID,
            target_group_arn=ARN,
            function=FUNCTION,
            executed_version="7",
            target_status=404,
            dispatched_at=NOW,
            target_seconds=0.25,
            log="looked\n",
        )
    )


@pytest.mark.parametrize(
    "answer", [InvocationResult(b'{"statusCode": 200}'), Throttled("busy"), ServiceFailed("no")]
)
async def test_forwarding_has_the_priority_of_its_rule(answer: Any) -> None:
    action = Forward(ARN, FUNCTION, AlbCodec(ARN, LISTENER, Attributes()), rule_priority=7)
    of_rule = Balancer(
        action, FakeInvoker([answer]), pages=Pages(), clock=FakeClock(NOW), draw=draw
    )

    response = await of_rule.respond(asked())

    assert response.forwarding.rule_priority == 7


async def test_hint_about_a_reply_is_kept() -> None:
    cookies = {"Set-Cookie": ["a=1", "a=2"]}

    response = await respond(
        reply(statusCode=200, multiValueHeaders=cookies), multi_value_headers=True
    )

    assert response.hint.startswith("the reply sets cookie 'a' more than once")


async def test_listener_adds_its_headers_to_replies_and_pages() -> None:
    attributes = {"server_header": False, "response_headers": ((b"X-Frame-Options", b"DENY"),)}

    replied = await respond(reply(statusCode=200), **attributes)
    refused = await respond(Throttled("busy"), **attributes)

    for response in (replied, refused):
        names = [name for name, _ in response.headers]
        assert b"Server" not in names
        assert response.headers[-1] == (b"X-Frame-Options", b"DENY")


async def test_head_reply_has_the_length_and_no_body() -> None:
    response = await respond(reply(statusCode=200, body="hello"), asked("HEAD"))

    assert response.body == b""
    assert (b"Content-Length", b"5") in response.headers


# The function failed


async def test_function_error_is_a_502_that_tells_the_client_nothing() -> None:
    fault = b'{"errorMessage": "no such cart", "errorType": "KeyError"}'
    answer = InvocationResult(fault, function_error="Unhandled", log="[ERROR] KeyError\n")

    response = await respond(answer)

    assert response.status == 502
    assert b"cart" not in response.body
    assert told(response.forwarding) == told(
        Forwarding(
            error_reason="LambdaUnhandled",
            detail="KeyError: no such cart",
            request_id=REQUEST_ID,
            target_group_arn=ARN,
            function=FUNCTION,
            executed_version="$LATEST",
            dispatched_at=NOW,
            target_seconds=0.0,
            log="[ERROR] KeyError\n",
        )
    )


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"errorType": "KeyError", "errorMessage": "x"}', "KeyError: x"),
        (b'{"errorType": "KeyError", "errorMessage": ""}', "KeyError"),
        (b'{"errorType": "KeyError"}', "KeyError"),
        (b'{"errorMessage": "x"}', "x"),
        (b'{"errorMessage": null}', ""),
        (b"{}", ""),
        (b"null", "null"),
        (b"[1]", "[1]"),
        (b"Bad \xff gateway", "Bad \ufffd gateway"),
        (b"x" * 300, "x" * 200),
    ],
)
def test_function_error_is_told_in_one_line(payload: bytes, text: str) -> None:
    assert error_text(payload) == text


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b'"hello"', "payload is string 'hello'; must be an object with a statusCode"),
        (b'{"statusCode": "200"}', "statusCode is string '200'; must be an integer"),
        (b'{"statusCode": 200, "body": {}}', "body is object {}; must be a string, or be left out"),
    ],
)
async def test_bad_reply_is_a_502_and_the_operator_reads_which_rule_it_broke(
    payload: bytes, detail: str
) -> None:
    response = await respond(InvocationResult(payload, log="printed\n"))

    forwarding = response.forwarding
    assert response.status == 502
    assert (forwarding.error_reason, forwarding.detail) == ("LambdaInvalidResponse", detail)
    assert (forwarding.target_status, forwarding.log) == (0, "printed\n")


async def test_reply_over_the_limit_has_a_reason_of_its_own() -> None:
    response = await respond(reply(statusCode=200, body="x" * 1024 * 1024))

    assert response.status == 502
    assert response.forwarding.error_reason == "LambdaResponseTooLarge"


# The platform failed

FAILURES: list[tuple[GatewayError, int, str]] = [
    (GatewayError("why"), 502, "LambdaUnhandledException"),
    (InvalidSetting("why"), 502, "LambdaUnhandledException"),
    (RequestRefused("why"), 400, ""),
    (BadRequestContent("why"), 400, "LambdaBadRequest"),
    (RequestTooLarge("why"), 413, "LambdaRequestTooLarge"),
    (MethodNotAllowed("why"), 405, ""),
    (TooManyForwardedAddresses("why"), 463, ""),
    (WebSocketNotSupported("why"), 400, "LambdaWebsocketNotSupported"),
    (IncompleteRequest("why"), 400, ""),
    (ClientLeft("why"), 460, ""),
    (BadFunctionResponse("body", "null", "must be a string"), 502, "LambdaInvalidResponse"),
    (ResponseTooLarge("payload", "2 MB", "takes 1 MB"), 502, "LambdaResponseTooLarge"),
    (InvocationFailed("why"), 502, "LambdaServiceException"),
    (FunctionNotFound("why"), 502, "LambdaResourceNotFound"),
    (FunctionUnhandled("why"), 502, "LambdaUnhandled"),
    (Throttled("why"), 502, "LambdaThrottling"),
    (ServiceRefused("why", "LambdaAccessDenied"), 502, "LambdaAccessDenied"),
    (CircuitOpen("why"), 502, "LambdaConnectionError"),
    (ServiceFailed("why"), 502, "LambdaServiceException"),
    (ServiceTimedOut("why"), 504, "LambdaConnectionTimeout"),
    (ServiceInterrupted("why"), 502, "LambdaConnectionError"),
    (ServiceUnreachable("why"), 502, "LambdaConnectionError"),
    (ConnectionTimedOut("why"), 504, "LambdaConnectionTimeout"),
]


def test_every_outcome_has_its_case_here() -> None:
    assert {type(error) for error, _, _ in FAILURES} == set(OUTCOMES)


@pytest.mark.parametrize(
    ("error", "status", "reason"), FAILURES, ids=lambda value: type(value).__name__
)
async def test_failure_is_a_page_for_the_client_and_a_reason_for_the_operator(
    error: GatewayError, status: int, reason: str
) -> None:
    response = await respond(error)

    assert (response.status, response.body) == (status, Pages().page(status).body)
    assert response.forwarding.error_reason == reason
    assert response.forwarding.detail == str(error)
    assert response.forwarding.target_seconds == -1.0


async def test_page_is_the_one_for_this_client() -> None:
    chrome = asked(headers=[(b"User-Agent", b"Mozilla/5.0 Chrome/120")])

    page = await respond(Throttled("busy"), chrome)
    head = await respond(Throttled("busy"), asked("HEAD"))

    assert page.body.count(b"padding to disable MSIE") == 6
    assert head.body == b""


async def test_error_that_is_not_ours_is_not_swallowed() -> None:
    class Broken:
        async def invoke(self, invocation: Invocation, /) -> InvocationResult:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await balancer(Broken()).respond(asked())


# The listener refused

XFF = b"X-Forwarded-For"
REFUSALS = [
    (asked("TRACE"), 405, ""),
    (asked(body=b"x" * (REQUEST_BODY_LIMIT + 1)), 413, "LambdaRequestTooLarge"),
    (asked(headers=[(XFF, b", ".join([b"192.0.2.1"] * 31))]), 463, ""),
    (asked(headers=[(XFF, b"192.0.2.1")] * 31), 463, ""),
    (
        asked(headers=[(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]),
        400,
        "LambdaWebsocketNotSupported",
    ),
    (asked(headers=[(b"X-Name", b"\xff")]), 400, "LambdaBadRequest"),
]


@pytest.mark.parametrize(
    ("request_", "status", "reason"), REFUSALS, ids=["trace", "body", "xff", "xffs", "ws", "utf8"]
)
async def test_refused_request_never_reaches_the_function(
    request_: HttpRequest, status: int, reason: str
) -> None:
    invoker = FakeInvoker([])

    response = await balancer(invoker).respond(request_)

    assert invoker.invocations == []
    assert (response.status, response.forwarding.error_reason) == (status, reason)
    assert response.forwarding.detail
    assert response.forwarding.dispatched_at == 0.0
    assert response.forwarding.request_id == ""


async def test_refusal_that_is_not_about_lambda_names_no_target_group() -> None:
    trace = await respond(reply(), asked("TRACE"))
    too_large = await respond(reply(), asked(body=b"x" * (REQUEST_BODY_LIMIT + 1)))

    assert trace.forwarding.target_group_arn == ""
    assert too_large.forwarding.target_group_arn == ARN


async def test_thirty_forwarded_addresses_are_allowed() -> None:
    request = asked(headers=[(XFF, b", ".join([b"192.0.2.1"] * 30))])

    response = await respond(reply(statusCode=200), request)

    assert response.status == 200

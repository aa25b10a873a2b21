"""Functions behind the Invoke API: what is sent, what comes back, what is tried again."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.core.errors import (
    GatewayError,
    RequestTooLarge,
    ServiceFailed,
    ServiceInterrupted,
    ServiceRefused,
    ServiceTimedOut,
    ServiceUnreachable,
    Throttled,
)
from gateway.core.invocation import FunctionRef, Invocation, InvocationType
from gateway.core.invoke_api import function_name
from gateway.core.outcomes import outcome
from gateway.core.sigv4 import Credentials
from gateway.invokers.aws import AwsLambda, AwsSettings
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeClock
from gateway.wire.client import Peer
from tests.invokers.fixed_credentials import FixedCredentials
from tests.invokers.signature import ACCESS_KEY, SECRET_KEY, TOKEN, check_signed, fields
from tests.wire.origin import (
    SHORT_SECONDS,
    Origin,
    Scripted,
    Visit,
    sending,
    serving,
    spoken_to,
)

REGION = "eu-west-1"
ARN = f"arn:aws:lambda:{REGION}:123456789012:function:my-fn"
SERVICE = "LambdaServiceException"
KEYS = Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)


def answer(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    """Return a response; underscores in names become hyphens."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Any\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return (head if status != 204 else f"HTTP/1.1 204 Any\r\n{lines}\r\n").encode() + body


def in_turn(*answers: bytes) -> Scripted:
    """Return the script of a server that gives these answers, over whatever connections."""
    left = [*answers]

    async def script(origin: Origin, visit: Visit) -> None:
        while left:
            await origin.answer(visit, left.pop(0))
        await visit.gone()

    return script


def invocation(payload: bytes = b'{"a":1}', **more: Any) -> Invocation:
    return Invocation("id", FunctionRef("my-fn", "", ARN), payload, **more)


def invoker(
    peer: Peer, function: str = "my-fn:prod", credentials: Any = None, **settings: Any
) -> AwsLambda:
    """Return an invoker whose waits are as long as they may be, and short."""
    asked = AwsSettings(
        function_name(function), REGION, **{"backoff_seconds": SHORT_SECONDS, **settings}
    )
    provider = credentials or FixedCredentials(KEYS)
    return AwsLambda(asked, peer, provider, clock=SystemClock(), jitter=lambda: 1.0)


@asynccontextmanager
async def service(script: Scripted, **settings: Any) -> AsyncIterator[tuple[Origin, AwsLambda]]:
    """Give a server and an invoker for it."""
    async with serving(script) as origin, spoken_to(origin) as peer:
        yield origin, invoker(peer, **settings)


@pytest.mark.parametrize("function", ["my-fn", "my-fn:prod", "my-fn:$LATEST", f"{ARN}:7"])
@pytest.mark.parametrize("token", ["", TOKEN])
async def test_request_is_signed_as_botocore_would(function: str, token: str) -> None:
    keys = FixedCredentials(Credentials(ACCESS_KEY, SECRET_KEY, token))
    asked = invocation(
        b'{"text":"\xc3\xa9"}', trace_id="Root=1-2-3", client_context='{"client":"\xe9"}'
    )
    async with service(sending(answer(200)), function=function, credentials=keys) as it:
        origin, aws = it
        await aws.invoke(asked)
        await aws.invoke(invocation(b""))

    for head, body in origin.requests:
        check_signed(head, body, REGION)
    assert [body for _, body in origin.requests] == [asked.payload, b""]
    assert fields(origin.requests[0][0])[2]["x-amzn-trace-id"] == "Root=1-2-3"


async def test_function_is_named_in_the_target() -> None:
    async with service(sending(answer(200)), function=f"{ARN}:prod") as (origin, aws):
        await aws.invoke(invocation())

    method, target, _ = fields(origin.requests[0][0])
    assert method == "POST"
    assert target == (
        "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Amy-fn"
        "/invocations?Qualifier=prod"
    )


async def test_result_has_version_error_and_log() -> None:
    log = base64.b64encode(b"START\nEND\n").decode()
    said = answer(
        *(200, b'{"errorType":"E"}'),
        **{"X-Amz-Executed-Version": "7", "X-Amz-Function-Error": "Unhandled"},
        **{"X-Amz-Log-Result": log},
    )
    async with service(sending(said), wants_log=True) as (origin, aws):
        result = await aws.invoke(invocation())

    assert (result.payload, result.executed_version) == (b'{"errorType":"E"}', "7")
    assert (result.function_error, result.log) == ("Unhandled", "START\nEND\n")
    assert fields(origin.requests[0][0])[2]["x-amz-log-type"] == "Tail"


@pytest.mark.parametrize(("kind", "status"), [("Event", 202), ("DryRun", 204)])
async def test_asynchronous_and_dry_invocations_have_no_payload(kind: str, status: int) -> None:
    async with service(sending(answer(status, b""))) as (origin, aws):
        result = await aws.invoke(invocation(type=InvocationType(kind)))

    assert (result.payload, result.executed_version, result.function_error) == (b"", "", "")
    assert fields(origin.requests[0][0])[2]["x-amz-invocation-type"] == kind
    check_signed(*origin.requests[0], REGION)


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        (answer(403), ServiceRefused, "LambdaAccessDenied"),
        (answer(404), ServiceRefused, "LambdaResourceNotFound"),
        (answer(409, x_amzn_ErrorType="ResourceConflictException"), ServiceRefused, SERVICE),
        (answer(413), RequestTooLarge, "LambdaRequestTooLarge"),
        (answer(429), Throttled, "LambdaThrottling"),
        (answer(500), ServiceFailed, SERVICE),
        (
            answer(502, x_amzn_ErrorType="KMSDisabledException"),
            ServiceRefused,
            "LambdaKMSDisabledException",
        ),
        (answer(502), ServiceFailed, SERVICE),
        (answer(302, Location="/elsewhere"), ServiceFailed, SERVICE),
    ],
)
async def test_refusal_has_albs_word_and_is_not_sent_again(
    said: bytes, kind: type[GatewayError], reason: str
) -> None:
    async with service(sending(said)) as (origin, aws):
        with pytest.raises(GatewayError) as caught:
            await aws.invoke(invocation())

    assert type(caught.value) is kind
    assert outcome(caught.value)[1] == reason
    assert len(origin.requests) == 1


async def test_large_payload_is_not_sent() -> None:
    async with service(sending(answer(200))) as (origin, aws):
        with pytest.raises(RequestTooLarge):
            await aws.invoke(invocation(b"x" * 6_291_457))

    assert origin.requests == []


async def test_throttle_is_tried_again_as_often_as_configured() -> None:
    async with service(sending(answer(429)), retries=2) as (origin, aws):
        with pytest.raises(Throttled):
            await aws.invoke(invocation())

    assert len(origin.requests) == 3
    for head, body in origin.requests:
        check_signed(head, body, REGION)


async def test_try_after_a_throttle_may_succeed() -> None:
    script = in_turn(answer(429), answer(200, b"1"))
    async with service(script, retries=1) as (origin, aws):
        result = await aws.invoke(invocation())

    assert result.payload == b"1"
    assert len(origin.requests) == 2


async def resetting(origin: Origin, visit: Visit) -> None:
    origin.requests.append(await visit.request())
    visit.reset()


async def silent(origin: Origin, visit: Visit) -> None:
    origin.requests.append(await visit.request())
    await visit.gone()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (resetting, ServiceInterrupted),
        (sending(answer(200)[:-1], then="close"), ServiceInterrupted),
        (silent, ServiceTimedOut),
        (sending(answer(500)), ServiceFailed),
    ],
)
async def test_what_may_have_started_is_never_sent_again(
    script: Scripted, kind: type[GatewayError]
) -> None:
    async with service(script, retries=5, timeout_seconds=0.5) as (origin, aws):
        with pytest.raises(kind):
            await aws.invoke(invocation())

    assert len(origin.requests) == 1


async def test_failed_connection_is_tried_again() -> None:
    waits: list[float] = []
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with Peer("http", "127.0.0.1", bound.getsockname()[1]) as peer:
            settings = AwsSettings(function_name("f"), REGION, retries=3, backoff_seconds=0.001)
            provider = FixedCredentials(KEYS)
            jitter = noting(waits)
            aws = AwsLambda(settings, peer, provider, clock=SystemClock(), jitter=jitter)
            with pytest.raises(ServiceUnreachable):
                await aws.invoke(invocation())

    assert len(waits) == 3


def noting(waits: list[float]) -> Callable[[], float]:
    def draw() -> float:
        waits.append(1.0)
        return 1.0

    return draw


async def test_no_attempt_begins_after_the_deadline() -> None:
    settings = {"retries": 3, "timeout_seconds": 5.0, "backoff_seconds": 100.0}
    async with service(sending(answer(429)), **settings) as (origin, aws):
        with pytest.raises(Throttled):
            await aws.invoke(invocation())

    assert len(origin.requests) == 1


async def test_deadline_of_the_invocation_holds() -> None:
    async with serving(silent) as origin, spoken_to(origin) as peer:
        settings = AwsSettings(function_name("f"), REGION)
        clock = FakeClock(1000.0)
        provider = FixedCredentials(KEYS)
        aws = AwsLambda(settings, peer, provider, clock=clock, jitter=lambda: 0.0)
        with pytest.raises(ServiceTimedOut):
            await aws.invoke(invocation(deadline_ms=1_000_500))

    assert len(origin.requests) == 1


class Turning:
    """A provider that has other credentials each time."""

    def __init__(self) -> None:
        self.given = 0

    def current(self) -> Credentials:
        self.given += 1
        return Credentials(ACCESS_KEY, SECRET_KEY, f"token{self.given}")


async def test_each_attempt_has_the_newest_credentials() -> None:
    async with service(sending(answer(429)), retries=1, credentials=Turning()) as (origin, aws):
        with pytest.raises(Throttled):
            await aws.invoke(invocation())

    tokens = [fields(head)[2]["x-amz-security-token"] for head, _ in origin.requests]
    assert tokens == ["token1", "token2"]


async def test_credentials_are_in_no_error_and_no_representation() -> None:
    body = f'{{"message":"{TOKEN} {SECRET_KEY}\\n\\n{TOKEN}"}}'.encode()
    async with service(sending(answer(403, body))) as (_, aws):
        with pytest.raises(ServiceRefused) as caught:
            await aws.invoke(invocation())

    shown = f"{caught.value!s} {caught.value!r} {FixedCredentials(KEYS)!r} {aws!r}"
    assert SECRET_KEY not in shown
    assert TOKEN not in shown
    assert "[hidden] [hidden]" in shown


async def test_caller_that_leaves_ends_the_wait() -> None:
    settings = {"retries": 1, "backoff_seconds": 1000.0, "timeout_seconds": 5000.0}
    async with service(sending(answer(429)), **settings) as (origin, aws):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_SECONDS * 4):
                await aws.invoke(invocation())

    assert len(origin.requests) == 1

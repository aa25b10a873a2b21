"""What the load balancer's client and its log get when a remote function fails, in each way."""

import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.compose import listener
from gateway.config.command_line import document
from gateway.config.function import Function
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.invoke_api import function_name
from gateway.core.listener import listener_address
from gateway.core.sigv4 import Credentials
from gateway.invokers.aws import AwsLambda, AwsSettings
from gateway.invokers.rie import Emulator, RiePool, RieSettings
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeSink
from gateway.wire.client import Peer, PeerSettings
from tests.invokers.fixed_credentials import FixedCredentials
from tests.wire.origin import HOST, Origin, Scripted, Visit, sending, serving

REQUEST = HttpRequest("GET", b"/cart", b"/cart", b"", [(b"Host", b"shop.example.org")])
SERVICE = "LambdaServiceException"
BROKEN = "LambdaConnectionError"
LATE = "LambdaConnectionTimeout"
INVALID = "LambdaInvalidResponse"
LARGE = "LambdaResponseTooLarge"
REPLY = b'{"statusCode":200,"body":"hello"}'
LIMIT_BYTES = 3 * 1024 * 1024
SECRET = "wJalrXUtnFEMI"


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    head = f"HTTP/1.1 {status} Any\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


async def refusing(origin: Origin, visit: Visit) -> None:
    raise AssertionError("no server listens here")


async def resetting(origin: Origin, visit: Visit) -> None:
    await visit.request()
    visit.reset()


async def silent(origin: Origin, visit: Visit) -> None:
    await visit.request()
    await visit.gone()


def failing(error_type: str, *headers: str) -> bytes:
    return answer(200, b'{"errorType":"%b"}' % error_type.encode(), *headers)


FAILED = "X-Amz-Function-Error: Unhandled"


COMMON: dict[str, tuple[Scripted, int, str]] = {
    "works": (sending(answer(200, REPLY)), 200, ""),
    "refused": (refusing, 502, BROKEN),
    "reset after the request": (resetting, 502, BROKEN),
    "truncated": (sending(answer(200, REPLY)[:-1], then="close"), 502, BROKEN),
    "no HTTP": (sending(b"SSH-2.0-OpenSSH\r\n", then="close"), 502, BROKEN),
    "truncated JSON": (sending(answer(200, REPLY[:-1])), 502, INVALID),
    "nothing": (sending(answer(200, b"")), 502, INVALID),
    "over 1 MB": (sending(answer(200, b'"' + b"x" * 1024 * 1024 + b'"')), 502, LARGE),
    "over what is read": (sending(answer(200, b"x" * (LIMIT_BYTES + 1))), 502, LARGE),
    "500": (sending(answer(500, b"")), 502, SERVICE),
    "503": (sending(answer(503, b"")), 502, SERVICE),
    "redirect": (sending(answer(307, b"", "Location: /")), 502, SERVICE),
}

AWS: dict[str, tuple[Scripted, int, str]] = COMMON | {
    "never answers": (silent, 504, LATE),
    "401": (sending(answer(401, b"")), 502, "LambdaAccessDenied"),
    "403": (sending(answer(403, b"")), 502, "LambdaAccessDenied"),
    "404": (sending(answer(404, b"")), 502, "LambdaResourceNotFound"),
    "413": (sending(answer(413, b"")), 413, "LambdaRequestTooLarge"),
    "429": (sending(answer(429, b"")), 502, "LambdaThrottling"),
    "function error": (sending(failing("ValueError", FAILED)), 502, "LambdaUnhandled"),
}

RIE: dict[str, tuple[Scripted, int, str]] = COMMON | {
    "never answers": (silent, 502, "LambdaUnhandled"),
    "400": (sending(answer(400, b"")), 502, SERVICE),
    "404": (sending(answer(404, b"404 page not found")), 502, SERVICE),
    "crash": (sending(answer(502, b"")), 502, "LambdaUnhandled"),
    "timeout": (sending(answer(200, b"Task timed out after 3.00 seconds")), 502, "LambdaUnhandled"),
    "function error": (sending(failing("ValueError")), 502, "LambdaUnhandled"),
}

TIMEOUT_SECONDS = {silent: 0.2}


async def responded(script: Scripted, kind: str) -> HttpResponse:
    """Return the load balancer's response for a function behind such a server."""
    async with AsyncExitStack() as stack:
        if script is refusing:
            bound = stack.enter_context(socket.socket())
            bound.bind((HOST, 0))
            port = bound.getsockname()[1]
        else:
            port = (await stack.enter_async_context(serving(script))).port
        limits = PeerSettings(max_response_bytes=LIMIT_BYTES)
        peer = await stack.enter_async_context(Peer("http", HOST, port, limits))
        invoker: Any = aws(peer, TIMEOUT_SECONDS.get(script, 20.0))
        if kind == "rie":
            emulator = Emulator(HOST, port, peer)
            settings = RieSettings(TIMEOUT_SECONDS.get(script, 20.0))
            pool = RiePool([emulator], settings, clock=SystemClock(), sink=FakeSink())
            invoker = await stack.enter_async_context(pool)
        described = document(Function("app.handler", name="shop"))
        seen_as = listener_address("http://127.0.0.1:80")
        balancer = listener.responder(described, described.listeners[0], seen_as, invoker)
        return await balancer.respond(REQUEST)


def aws(peer: Peer, seconds: float) -> AwsLambda:
    settings = AwsSettings(function_name("shop"), "eu-west-1", seconds)
    keys = FixedCredentials(Credentials("AKIDEXAMPLE", SECRET))
    return AwsLambda(settings, peer, keys, clock=SystemClock(), jitter=lambda: 0.0)


def check(response: HttpResponse, status: int, reason: str) -> None:
    assert (response.status, response.forwarding.error_reason) == (status, reason)
    if reason:
        assert response.forwarding.detail
        assert SECRET not in response.forwarding.detail
        assert response.body.startswith(b"<html>\r\n<head><title>%d " % status)
    else:
        assert response.body == b"hello"


@pytest.mark.parametrize("case", AWS)
async def test_client_and_log_of_a_function_in_aws(case: str) -> None:
    script, status, reason = AWS[case]

    check(await responded(script, "aws"), status, reason)


@pytest.mark.parametrize("case", RIE)
async def test_client_and_log_of_a_function_in_an_emulator(case: str) -> None:
    script, status, reason = RIE[case]

    check(await responded(script, "rie"), status, reason)

"""What can happen to an exchange, and which of the gateway's errors it becomes."""

import asyncio
import socket

import pytest

from gateway.core.errors import (
    ConnectionTimedOut,
    ResponseTooLarge,
    ServiceFailed,
    ServiceInterrupted,
    ServiceTimedOut,
    ServiceUnreachable,
)
from gateway.core.http import Headers
from gateway.core.outcomes import outcome
from gateway.invokers.remote import posted, seconds_left
from gateway.testing import FakeClock
from gateway.wire.client import DeadlineExceeded, Interrupted, Peer, Reply, Unreachable
from tests.invokers.gate import invocation
from tests.wire.origin import OK, SHORT_SECONDS, Origin, Visit, answering, serving, spoken_to

LONG_SECONDS = 20.0


class Failing:
    """An origin with which every exchange fails."""

    authority = b"lambda.example"

    def __init__(self, failure: Exception, cause: Exception | None = None) -> None:
        self._failure, self._cause = failure, cause

    async def exchange(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, **_times: float
    ) -> Reply:
        raise self._failure from self._cause

    async def reach(self, *, deadline: float) -> None:
        raise self._failure from self._cause


@pytest.mark.parametrize(
    ("failure", "cause", "kind", "expected"),
    [
        (Unreachable("x"), None, ServiceUnreachable, (502, "LambdaConnectionError")),
        (Unreachable("x"), OSError(), ServiceUnreachable, (502, "LambdaConnectionError")),
        (Unreachable("x"), TimeoutError(), ConnectionTimedOut, (504, "LambdaConnectionTimeout")),
        (DeadlineExceeded("x"), None, ServiceTimedOut, (504, "LambdaConnectionTimeout")),
        (Interrupted("x"), None, ServiceInterrupted, (502, "LambdaConnectionError")),
    ],
)
async def test_failure_of_the_client_becomes_the_gateways(
    failure: Exception,
    cause: Exception | None,
    kind: type[ServiceFailed],
    expected: tuple[int, str],
) -> None:
    with pytest.raises(ServiceFailed) as caught:
        await posted(Failing(failure, cause), b"/", [], b"", deadline=0.0)

    assert type(caught.value) is kind
    assert outcome(caught.value) == expected
    assert str(caught.value) == "x"


async def test_event_is_posted() -> None:
    async with serving(answering) as origin, spoken_to(origin) as peer:
        reply = await posted(peer, b"/a", [(b"B", b"c")], b"event", deadline=soon())

    head, body = origin.requests[0]
    assert head.startswith(b"POST /a HTTP/1.1\r\n")
    assert b"B: c\r\n" in head
    assert (body, reply.status, reply.body) == (b"event", 200, b"ok")


async def test_service_that_does_not_listen_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with Peer("http", "127.0.0.1", bound.getsockname()[1]) as peer:
            with pytest.raises(ServiceUnreachable) as caught:
                await posted(peer, b"/", [], b"", deadline=soon())

    assert type(caught.value) is ServiceUnreachable


async def resetting(origin: Origin, visit: Visit) -> None:
    await visit.request()
    visit.reset()


async def truncating(origin: Origin, visit: Visit) -> None:
    await origin.answer(visit, OK[:-1])


async def test_reply_is_larger_than_the_client_takes() -> None:
    async with serving(answering) as origin, spoken_to(origin, max_response_bytes=1) as peer:
        with pytest.raises(ResponseTooLarge) as caught:
            await posted(peer, b"/", [], b"", deadline=soon())

    assert outcome(caught.value) == (502, "LambdaResponseTooLarge")
    assert (
        str(caught.value) == "payload is not read to its end; the response's body is over 1 bytes"
    )


async def silent(origin: Origin, visit: Visit) -> None:
    await visit.request()
    await visit.gone()


async def test_connection_is_reset_after_the_request() -> None:
    async with serving(resetting) as origin, spoken_to(origin) as peer:
        with pytest.raises(ServiceInterrupted):
            await posted(peer, b"/", [], b"", deadline=soon())


async def test_reply_is_truncated() -> None:
    async with serving(truncating) as origin, spoken_to(origin) as peer:
        with pytest.raises(ServiceInterrupted):
            await posted(peer, b"/", [], b"", deadline=soon())


async def test_nothing_comes() -> None:
    async with serving(silent) as origin, spoken_to(origin) as peer:
        with pytest.raises(ServiceTimedOut):
            await posted(peer, b"/", [], b"", deadline=soon(SHORT_SECONDS))


def soon(seconds: float = LONG_SECONDS) -> float:
    return asyncio.get_running_loop().time() + seconds


def test_deadline_of_an_invocation_shortens_its_timeout() -> None:
    clock = FakeClock(1000.0)

    assert seconds_left(invocation(), 30.0, clock) == 30.0
    assert seconds_left(invocation(deadline_ms=1_010_500), 30.0, clock) == 10.5
    assert seconds_left(invocation(deadline_ms=1_100_000), 30.0, clock) == 30.0

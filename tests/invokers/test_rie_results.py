"""What the replies of emulators become, and names that cannot be looked up."""

import asyncio
import math
from contextlib import suppress
from typing import Any

import pytest

from gateway.core import function_errors
from gateway.core.errors import (
    GatewayError,
    ServiceFailed,
    ServiceUnreachable,
)
from gateway.core.invocation import InvocationResult
from gateway.invokers import rie
from gateway.invokers.rie import Emulator, result_of
from gateway.wire.client import Peer, Reply, Unreachable
from tests.invokers.emulators import World, world
from tests.invokers.gate import PATIENCE_SECONDS, REQUEST_ID, invocation
from tests.wire.origin import (
    SHORT_SECONDS,
    Held,
    until,
)

ERROR = b'{"errorMessage":"no","errorType":"ValueError","requestId":"","stackTrace":[]}'


EXIT_ERROR = b'{"errorType":"Runtime.ExitError","errorMessage":"x"}'


@pytest.mark.parametrize(
    ("status", "body", "payload", "error"),
    [
        (200, b'{"statusCode":200}', b'{"statusCode":200}', ""),
        (200, b"null", b"null", ""),
        (200, b"", b"", ""),
        (200, ERROR, ERROR, "Unhandled"),
        (200, b'{"statusCode":200,"errorType":"a"}', b'{"statusCode":200,"errorType":"a"}', ""),
        (200, b'{"errorType":1}', b'{"errorType":1}', ""),
        (200, b'["\\"errorType\\"","errorType"]', b'["\\"errorType\\"","errorType"]', ""),
        (200, b'{"errorType"', b'{"errorType"', ""),
        (
            *(200, b"Task timed out after 3.00 seconds"),
            *(function_errors.timed_out(REQUEST_ID, 3.0), "Unhandled"),
        ),
        (502, EXIT_ERROR, EXIT_ERROR, "Unhandled"),
        (502, b"", function_errors.exited(REQUEST_ID, None), "Unhandled"),
    ],
)
def test_reply_becomes_what_aws_would_answer(
    status: int, body: bytes, payload: bytes, error: str
) -> None:
    result = result_of(Reply(status, [], body), invocation(), "it")

    assert (result.payload, result.function_error) == (payload, error)


@pytest.mark.parametrize(
    ("status", "hint"), [(400, "one invocation at a time"), (404, "no Runtime"), (504, "504$")]
)
def test_reply_of_nobodys_function_is_a_failure(status: int, hint: str) -> None:
    with pytest.raises(ServiceFailed, match=rf"it answered {status}.*{hint}|{hint}"):
        result_of(Reply(status, [], b""), invocation(), "it")


class Silent:
    """An emulator that accepts no connection in time."""

    authority = b"silent"

    def __init__(self) -> None:
        self.start_by: list[float] = []

    async def exchange(
        self, *_arguments: Any, deadline: float, start_by: float = math.inf
    ) -> Reply:
        self.start_by.append(start_by)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(start_by):
                await asyncio.get_running_loop().create_future()
        raise Unreachable("silent") from TimeoutError()

    async def reach(self, *, deadline: float) -> None:
        raise Unreachable("silent")


async def test_all_attempts_share_one_deadline_and_nothing_is_sent_after_it() -> None:
    silent = [Silent(), Silent(), Silent()]
    emulators = [Emulator("silent", 1, each) for each in silent]
    async with World([], emulators, timeout_seconds=SHORT_SECONDS).pool as pool:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with suppress(GatewayError):
            await pool.invoke(invocation())
        asked = [moment for each in silent for moment in each.start_by]

    assert max(asked) <= before + 2 * SHORT_SECONDS
    assert len(set(asked)) == 1


async def test_malformed_name_does_not_end_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up `a..b` raises UnicodeError, which is not an OSError."""
    monkeypatch.setattr(rie, "PROBE_SECONDS", SHORT_SECONDS)
    async with Peer("http", "a..b", 9000) as peer:
        it = World([], [Emulator("a..b", 9000, peer)])
        async with it.pool:
            for _ in range(2):
                with pytest.raises(ServiceUnreachable):
                    await it.call()
            await asyncio.wait_for(until(lambda: it.pool._states[0].is_probed), PATIENCE_SECONDS)
            await asyncio.wait_for(
                until(lambda: not it.pool._states[0].is_probed), PATIENCE_SECONDS
            )
            with pytest.raises(ServiceUnreachable):
                await it.call()


async def test_waiter_for_what_is_out_of_use_is_told_so() -> None:
    held = Held()
    async with world(held, queue_timeout_seconds=SHORT_SECONDS) as it, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(outcome_of(it))
        await held.came(1)
        second = tasks.create_task(outcome_of(it))
        it.pool._states[0].is_out_of_use = True
        assert await second is ServiceUnreachable
        it.pool._states[0].is_out_of_use = False
        held.answer()
        assert await first is InvocationResult


async def outcome_of(it: World) -> type:
    """Return what a call came to."""
    try:
        return type(await it.call())
    except GatewayError as error:
        return type(error)

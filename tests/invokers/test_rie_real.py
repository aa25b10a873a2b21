"""The pool over AWS's own emulators, with AWS's runtime client and a function of every kind."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.core.invocation import InvocationResult
from gateway.invokers.rie import Emulator, RiePool, RieSettings
from gateway.telemetry.system import SystemClock
from gateway.testing import FakeSink
from gateway.wire.client import Peer
from tests.invokers.gate import REQUEST_ID, invocation
from tests.runtime.rie import emulating

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"
CROWD = 12
FUNCTION = """
import os, threading
running = []

def handler(event, context):
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "wait" in event:
        threading.Event().wait(event["wait"])
    running.append(os.getpid())
    return {"event": event, "client": context.client_context and context.client_context.custom}
"""
VARIABLES = {
    "PATH": str(Path(sys.executable).parent),
    "AWS_LAMBDA_FUNCTION_TIMEOUT": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@asynccontextmanager
async def emulators(code: Path, count: int, **settings: Any) -> AsyncIterator[RiePool]:
    """Run a pool over this many emulators of the function."""
    (code / "app.py").write_text(FUNCTION)
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            port = stack.enter_context(emulating(code, VARIABLES))._port
            peer = await stack.enter_async_context(Peer("http", HOST, port))
            found.append(Emulator(HOST, port, peer))
        pool = RiePool(found, RieSettings(**settings), clock=SystemClock(), sink=FakeSink())
        yield await stack.enter_async_context(pool)


async def test_function_answers_fails_and_times_out_as_in_aws(tmp_path: Path) -> None:
    async with emulators(tmp_path, 1) as pool:
        results = [
            await pool.invoke(invocation(event))
            for event in ({"a": 1}, {"raise": "no"}, {"exit": 3}, {"wait": 30}, {"a": 2})
        ]

    answered, raised, exited, late, again = map(seen, results)
    assert answered == ("", {"event": {"a": 1}, "client": None})
    assert raised[0] == exited[0] == late[0] == "Unhandled"
    assert (raised[1]["errorType"], raised[1]["errorMessage"]) == ("ValueError", "no")
    assert exited[1]["errorType"] == "Runtime.ExitError"
    assert exited[1]["errorMessage"].endswith("Runtime exited with error: exit status 3")
    assert late[1] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {REQUEST_ID} Error: Task timed out after 1.00 seconds",
    }
    assert again == ("", {"event": {"a": 2}, "client": None})


def seen(result: InvocationResult) -> tuple[str, Any]:
    return result.function_error, orjson.loads(result.payload)


async def test_crowd_is_answered_by_a_few_emulators(tmp_path: Path) -> None:
    async with emulators(tmp_path, 2, queue_timeout_seconds=20.0) as pool:
        crowd = [pool.invoke(invocation({"number": number})) for number in range(CROWD)]
        results = await asyncio.gather(*crowd)

    found = [seen(result)[1]["event"]["number"] for result in results]
    assert found == list(range(CROWD))
    assert {result.function_error for result in results} == {""}


async def test_caller_that_leaves_does_not_break_the_emulator(tmp_path: Path) -> None:
    async with emulators(tmp_path, 1, queue_timeout_seconds=20.0) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.invoke(invocation({"wait": 0.3}))
        result = await pool.invoke(invocation({"a": 1}))

    assert seen(result) == ("", {"event": {"a": 1}, "client": None})

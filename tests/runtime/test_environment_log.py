"""The end of an invocation of one environment: its log, its exit, and a close meanwhile."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.core.invocation import LogType
from gateway.core.logging_config import LoggingConfig
from gateway.runtime.slots import InitFailed
from tests.runtime.api_client import NEXT, connected, post, until
from tests.runtime.environments import (
    ECHO,
    Launcher,
    PuppetLauncher,
    begin,
    error_type,
    listening,
    world,
    write,
)


async def test_an_exit_after_the_answer_fails_the_invocation_but_not_the_caller(
    tmp_path: Path,
) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            await client.ask(post(f"invocation/{it.request_id}/response", b"1"))
        result = await future
        assert it.freed == 0
        it.launcher.children[0].exit(0)
        await it.free()

        assert (result.payload, result.function_error) == (b"1", "")
        assert (it.reports()[0].status, it.reports()[0].error_type) == (
            "error",
            "Runtime.ExitError",
        )


async def test_what_is_written_after_the_answer_belongs_to_the_same_invocation(
    tmp_path: Path,
) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            await begin(it, client)
            os.write(it.launcher.output, b"before\n")
            await client.ask(post(f"invocation/{it.request_id}/response", b"1"))
            os.write(it.launcher.output, b"after\n")
            await client.send(NEXT)
            await it.free()

        assert (await future).log == "before\n"
        assert [entry.text for entry in it.reports()[0].entries] == ["before", "after"]


async def test_the_tail_of_the_log_comes_with_the_end_of_the_invocation(tmp_path: Path) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start(log_type=LogType.TAIL)
        async with connected(await listening(it)) as client:
            await begin(it, client)
            os.write(it.launcher.output, b"before\n")
            await client.ask(post(f"invocation/{it.request_id}/response", b"1"))
            was_done = future.done()
            os.write(it.launcher.output, b"after\n")
            await client.send(NEXT)
            result = await future

    start, before, after, end, report = result.log_tail.decode().splitlines()
    assert not was_done
    assert (result.payload, result.log) == (b"1", "before\n")
    assert (start.split()[0], before, after, end.split()[0]) == ("START", "before", "after", "END")
    assert report.startswith(f"REPORT RequestId: {it.request_id}\tDuration: ")


async def test_the_tail_is_there_without_a_sink_and_only_when_asked_for(tmp_path: Path) -> None:
    async with world(Launcher(), write(tmp_path, app=ECHO), has_sink=False) as it:
        plain, tailed = await it.call(), await it.call(log_type=LogType.TAIL)

    assert plain.log_tail == b""
    assert tailed.log_tail.startswith(b"START RequestId: ")
    assert it.notices == []


async def test_the_tail_tells_how_an_invocation_failed_and_in_which_format(tmp_path: Path) -> None:
    app = "import os\ndef handler(event, context):\n    os._exit(3)\n"
    config = LoggingConfig("JSON")
    async with world(Launcher(), write(tmp_path, app=app), logging=config) as it:
        result = await it.call(log_type=LogType.TAIL)

    *_, done, report = map(json.loads, result.log_tail.splitlines())
    assert (done["type"], report["type"]) == ("platform.runtimeDone", "platform.report")
    assert report["record"]["errorType"] == "Runtime.ExitError"


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_caller_that_waits_for_the_tail_is_answered_by_a_close(
    tmp_path: Path, is_answered: bool
) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start(log_type=LogType.TAIL)
        async with connected(await listening(it)) as client:
            await begin(it, client)
            if is_answered:
                await client.ask(post(f"invocation/{it.request_id}/response", b"1"))
            await it.environment.close()

        assert ((await future).payload == b"1") is is_answered
        assert (await future).log_tail.startswith(b"START RequestId: ")


@pytest.mark.parametrize("is_in_invocation", [True, False])
async def test_a_close_in_the_middle_answers_the_caller_and_a_second_does_nothing(
    tmp_path: Path, is_in_invocation: bool
) -> None:
    async with world(Launcher(), write(tmp_path, app="import time; time.sleep(60)")) as it:
        waiting: Any
        if is_in_invocation:
            waiting = it.start()
        else:
            waiting = asyncio.get_running_loop().create_task(it.environment.init())
        await until(lambda: it.launcher.children)
        await it.environment.close()
        if is_in_invocation:
            assert error_type((await waiting).payload) == "Runtime.ExitError"
            assert len(it.reports()) == 1
        else:
            with pytest.raises(InitFailed):
                await waiting


async def test_an_environment_that_never_ran_can_be_closed(tmp_path: Path) -> None:
    async with world(Launcher(), tmp_path) as it:
        pass

    assert (it.launcher.children, it.notices) == ([], [])

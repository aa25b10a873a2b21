"""One environment: real processes of our bootstrap, and a test that plays the runtime."""

import json
from pathlib import Path

import pytest

from gateway.runtime.launch import LaunchFailed
from gateway.runtime.slots import InitFailed
from tests.runtime.api_client import NEXT, connected, post
from tests.runtime.environments import (
    ECHO,
    Launcher,
    PuppetLauncher,
    begin,
    error_type,
    listening,
    said,
    world,
    write,
)


async def test_invocations_run_one_after_the_other_in_one_process(tmp_path: Path) -> None:
    async with world(Launcher(), write(tmp_path, app=ECHO)) as it:
        first, second = await it.call(b'{"a": 1}'), await it.call(b'"b"')

        assert (first.payload, second.payload) == (b'{"a": 1}', b'"b"')
        assert (first.log, second.log) == ("seen {'a': 1}\n", "seen b\n")
        assert first.function_error == second.function_error == ""
        assert (first.init_ms > 0, second.init_ms) == (True, 0)
        assert first.executed_version == "7"
        assert it.order() == ["start", "init", "end", "end"]
        assert it.inits() == [("init", "success", "")]
        reports = it.reports()
        assert [report.status for report in reports] == ["success", "success"]
        assert [[entry.text for entry in report.entries] for report in reports] == [
            ["seen {'a': 1}"],
            ["seen b"],
        ]
        assert [report.init_ms is None for report in reports] == [False, True]
        assert reports[1].request_id == it.request_id
        assert reports[1].produced_bytes == 3
        assert reports[1].completed_at >= reports[1].started_at
        assert len(it.launcher.children) == 1


async def test_an_init_ahead_reports_and_frees_no_caller(tmp_path: Path) -> None:
    async with world(Launcher(), write(tmp_path, app=f"print('hello')\n{ECHO}")) as it:
        await it.environment.init()
        assert it.order() == ["start", "init"]
        assert it.freed == 0
        await it.call()
        assert it.freed == 1


async def test_an_init_that_fails_says_why(tmp_path: Path) -> None:
    async with world(Launcher(), write(tmp_path, app="import nothing_like_it")) as it:
        with pytest.raises(InitFailed, match="nothing_like_it"):
            await it.environment.init()
        result = await it.call()

        assert error_type(result.payload) == "Runtime.ImportModuleError"
        assert json.loads(result.payload)["requestId"] == ""
        assert it.inits() == [
            ("init", "error", "Runtime.ImportModuleError"),
            ("invoke", "error", "Runtime.ImportModuleError"),
        ]


async def test_init_is_tried_twice_before_the_caller_gets_its_error(tmp_path: Path) -> None:
    async with world(Launcher(), write(tmp_path, app="import os; os._exit(3)")) as it:
        result = await it.call()

        assert "exit status 3" in json.loads(result.payload)["errorMessage"]
        assert result.function_error == "Unhandled"
        assert it.order() == ["start", "init", "start", "init", "end"]
        assert len(it.launcher.children) == 2


async def test_an_init_over_its_limit_runs_again_inside_the_invocation(tmp_path: Path) -> None:
    app = f"import os, time\nif not os.path.exists('been'):\n    open('been', 'w').close()\n\
    time.sleep(60)\n{ECHO}"
    async with world(Launcher(), write(tmp_path, app=app), init_seconds=0.5) as it:
        result = await it.call(b"1")

        assert result.payload == b"1"
        assert [done[:2] for done in it.inits()] == [("init", "timeout"), ("invoke", "success")]
        assert it.reports()[0].init_ms is not None


async def test_a_function_over_its_timeout_is_ended_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    app = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 1\n"
    async with world(Launcher(), write(tmp_path, app=app), timeout_seconds=0.5) as it:
        await it.call(b"0")
        late = await it.call(b"60")
        after = await it.call(b"0")

        message = json.loads(late.payload)["errorMessage"]
        assert message.endswith("Error: Task timed out after 0.50 seconds")
        assert it.reports()[1].status == "timeout"
        assert 500 <= it.reports()[1].duration_ms < 600
        assert 500 <= late.billed_ms < 600
        assert after.payload == b"1"
        assert it.inits()[1] == ("invoke", "success", "")


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("sys.exit(4)", "Runtime exited with error: exit status 4"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
    ],
)
async def test_a_process_that_ends_costs_its_own_invocation(
    tmp_path: Path, death: str, reason: str
) -> None:
    app = f"import os, sys\ndef handler(event, context):\n    event and {death}\n    return 1\n"
    async with world(Launcher(), write(tmp_path, app=app)) as it:
        result = await it.call(b"1")

        assert json.loads(result.payload) == {
            "errorType": "Runtime.ExitError",
            "errorMessage": f"RequestId: {it.request_id} Error: {reason}",
        }
        assert it.reports()[0].error_type == "Runtime.ExitError"
        assert (await it.call(b"0")).payload == b"1"


async def test_a_caller_that_leaves_ends_nothing(tmp_path: Path) -> None:
    async with world(Launcher(), write(tmp_path, app=ECHO)) as it:
        it.start(b"1").cancel()
        await it.free()

        assert it.reports()[0].status == "success"
        assert (await it.call(b"2")).payload == b"2"


@pytest.mark.parametrize("failure", [LaunchFailed("no such file"), OSError("too many files")])
async def test_what_cannot_be_started_is_an_invalid_entrypoint(
    tmp_path: Path, failure: Exception
) -> None:
    launcher = PuppetLauncher()
    launcher.failure = failure
    async with world(launcher, tmp_path) as it:
        result = await it.call()

        assert error_type(result.payload) == "Runtime.InvalidEntrypoint"
        assert str(failure) in json.loads(result.payload)["errorMessage"]
        assert it.order() == ["start", "init", "start", "init", "end"]


async def test_the_event_has_its_headers_and_no_empty_ones(tmp_path: Path) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        it.start(b"[1]")
        async with connected(await listening(it)) as client:
            plain = await client.ask(NEXT)
            await client.ask(post(f"invocation/{it.request_id}/response"))
            await client.send(NEXT)
            await it.free()
            it.start(b"2", context='{"a":\r\n1}', trace_id="Root=1")
            rich = await client.answer()

    assert plain.body == b"[1]"
    assert set(plain.headers) == {
        "Content-Type",
        "Content-Length",
        "Lambda-Runtime-Aws-Request-Id",
        "Lambda-Runtime-Deadline-Ms",
        "Lambda-Runtime-Invoked-Function-Arn",
        "Lambda-Runtime-Invocation-Id",
    }
    assert plain.headers["Content-Type"] == "application/json"
    assert rich.headers["Lambda-Runtime-Trace-Id"] == "Root=1"
    assert json.loads(rich.headers["Lambda-Runtime-Client-Context"]) == {"a": 1}


async def test_answers_out_of_turn_are_refused(tmp_path: Path) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            path = f"invocation/{it.request_id}"
            early = await client.ask(post(f"{path}/response", b"0"))
            again = [await begin(it, client), await begin(it, client)]
            foreign = await client.ask(post("invocation/other/response", b"0"))
            init = await client.ask(post("init/error", b"{}"))
            right = await client.ask(post(f"{path}/response", b"1"))
            second = await client.ask(post(f"{path}/response", b"2"))
            error = await client.ask(post(f"{path}/error", b"2"))

            assert again == [it.request_id] * 2
            assert said(early) == said(foreign) == (400, "InvalidRequestID")
            assert said(init) == said(second) == said(error) == (403, "InvalidStateTransition")
            assert right.status == 202
            assert (await future).payload == b"1"


async def test_the_echo_of_the_invocation_id_may_be_missing_but_not_wrong(tmp_path: Path) -> None:
    async with world(PuppetLauncher(), tmp_path) as it:
        future = it.start()
        async with connected(await listening(it)) as client:
            event = await client.ask(NEXT)
            path = f"invocation/{it.request_id}/response"
            name = "lambda-runtime-invocation-id"
            wrong = await client.ask(post(path, b"0", f"{name}: x"))
            echo = event.headers["Lambda-Runtime-Invocation-Id"]
            right = await client.ask(post(path, b"1", f"{name}: {echo}"))

        assert said(wrong) == (400, "InvalidInvocationId")
        assert right.status == 202
        assert (await future).payload == b"1"

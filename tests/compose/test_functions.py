"""A function that can be invoked, wherever it runs, from its settings."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

from gateway.compose import functions
from gateway.config.command_line import document
from gateway.config.function import Execution, Function
from gateway.config.remote import Emulators, Endpoint, Remote
from gateway.core.errors import InvalidSetting, ServiceUnreachable
from gateway.core.invocation import LogType
from gateway.core.notices import (
    FunctionReloaded,
    InitReported,
    InitStarted,
    InvocationReported,
    Notice,
    OperatorWarning,
)
from gateway.testing import FakeSink
from tests.compose.shop import (
    NAME,
    NO_FUNCTION,
    NO_HANDLERS,
    PATIENCE_SECONDS,
    WHERE,
    asked,
    save,
)


def once(function: Function, *, is_in_process: bool = False) -> Function:
    return replace(function, execution=Execution(concurrency=1, is_in_process=is_in_process))


async def test_remote_function_is_invoked_where_it_is(shop: Function) -> None:
    place = Emulators((Endpoint("http", "127.0.0.1", 1),))
    described = document(replace(shop, handler=""), remote=Remote(place))
    async with functions.invokable(described, described.functions[0], None) as running:
        with pytest.raises(ServiceUnreachable):
            await running.invoker.invoke(asked(shop))

    assert running.said == "remote: 1 emulator"


async def test_warnings_of_a_function_elsewhere_have_no_version(shop: Function) -> None:
    place = Emulators((Endpoint("http", "127.0.0.1", 1),))
    described = document(replace(shop, handler=""), remote=Remote(place))
    sink = FakeSink()
    async with functions.invokable(described, described.functions[0], sink) as running:
        with pytest.raises(ServiceUnreachable):
            await running.invoker.invoke(asked(shop))

    (warning,) = sink.notices
    assert isinstance(warning, OperatorWarning)
    assert (warning.function, warning.version) == ("shop", "")


async def test_function_runs_once(shop: Function) -> None:
    function = once(shop, is_in_process=True)

    result = await functions.invoke_once(function, b'{"a": 1}')

    printed, logged = result.log.splitlines()
    assert json.loads(result.payload) == [{"a": 1}, "shop", "test"]
    assert printed == "printed {'a': 1}"
    assert logged.startswith("[WARNING]\t")
    assert logged.endswith("\tlogged")


async def test_function_that_fails_once_is_a_result(shop: Function) -> None:
    function = once(replace(shop, handler=f"{NAME}.fails"), is_in_process=True)

    result = await functions.invoke_once(function, b"{}")

    assert (result.function_error, json.loads(result.payload)["errorMessage"]) == (
        "Unhandled",
        "no",
    )


@pytest.mark.slow
async def test_function_runs_once_in_an_environment(shop: Function) -> None:
    sink = FakeSink()
    function = once(replace(shop, handler=f"{NAME}.fails"))

    result = await functions.invoke_once(function, b"{}", sink, LogType.TAIL)

    assert (result.function_error, json.loads(result.payload)["errorMessage"]) == (
        "Unhandled",
        "no",
    )
    assert result.log_tail.startswith(b"START RequestId: ")
    assert [type(notice) for notice in sink.notices] == [
        InitStarted,
        InitReported,
        InvocationReported,
    ]


@pytest.mark.parametrize(("handler", "message"), NO_HANDLERS)
async def test_single_invocation_answers_with_the_error_of_its_init(
    handler: str, message: str, shop: Function
) -> None:
    function = once(replace(shop, handler=handler), is_in_process=True)

    result = await functions.invoke_once(function, b"{}")

    error = json.loads(result.payload)
    assert f"{error['errorType']}: {error['errorMessage']}".startswith(message)
    assert result.log.startswith(f"[ERROR] {message}")


async def test_single_invocation_of_what_is_not_callable_is_refused(shop: Function) -> None:
    handler, message = NO_FUNCTION
    function = once(replace(shop, handler=handler), is_in_process=True)

    with pytest.raises(InvalidSetting, match=message):
        await functions.invoke_once(function, b"{}")


@pytest.mark.slow
@pytest.mark.parametrize("is_in_process", [True, False], ids=["in-process", "isolated"])
async def test_function_is_invokable_in_both_ways(shop: Function, *, is_in_process: bool) -> None:
    shop = replace(shop, handler=f"{NAME}.where")
    await asyncio.to_thread(save, shop.code, WHERE)
    described = document(shop, is_in_process=is_in_process)

    async with functions.invokable(described, described.functions[0], FakeSink()) as running:
        result = await running.invoker.invoke(asked(shop))

    assert (json.loads(result.payload) == os.getpid()) == is_in_process
    assert running.said.startswith("in-process: " if is_in_process else "isolation: ")


@pytest.mark.slow
async def test_environments_serve_what_was_saved(shop: Function) -> None:
    saved = asyncio.get_running_loop().create_future()

    class ReloadSink:
        def emit(self, notice: Notice, /) -> None:
            if isinstance(notice, FunctionReloaded):
                saved.set_result(notice)

    shop = replace(shop, handler=f"{NAME}.where")
    await asyncio.to_thread(save, shop.code, WHERE.replace("os.getpid()", "'old'"))
    described = document(shop, is_reloading=True)

    async with asyncio.timeout(PATIENCE_SECONDS):
        started = functions.invokable(described, described.functions[0], ReloadSink())
        async with started as running:
            before = await running.invoker.invoke(asked(shop))
            await asyncio.to_thread(save, shop.code, WHERE.replace("os.getpid()", "'new'"))
            await saved
            after = await running.invoker.invoke(asked(shop))

    reloaded = saved.result()
    assert (reloaded.function, reloaded.version) == ("shop", "$LATEST")
    assert (before.payload, after.payload) == (b'"old"', b'"new"')

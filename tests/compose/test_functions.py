"""A function that can be invoked, wherever it runs, from its settings."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

from gateway.compose import functions
from gateway.config.remote import Address, Emulators, Remote
from gateway.config.settings import Function, Serving
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


async def test_remote_function_is_invoked_where_it_is(shop: Function) -> None:
    place = Emulators((Address("http", "127.0.0.1", 1),))
    serving = Serving(replace(shop, handler=""), remote=Remote(place))
    async with functions.invokable(serving, None) as (invoker, where):
        with pytest.raises(ServiceUnreachable):
            await invoker.invoke(asked(shop))

    assert where == "remote: 1 emulator"


async def test_warnings_of_a_function_elsewhere_have_no_version(shop: Function) -> None:
    place = Emulators((Address("http", "127.0.0.1", 1),))
    serving = Serving(replace(shop, handler=""), remote=Remote(place))
    sink = FakeSink()
    async with functions.invokable(serving, sink) as (invoker, _):
        with pytest.raises(ServiceUnreachable):
            await invoker.invoke(asked(shop))

    (warning,) = sink.notices
    assert isinstance(warning, OperatorWarning)
    assert (warning.function, warning.version) == ("shop", "")


async def test_function_runs_once(shop: Function) -> None:
    serving = Serving(shop, concurrency=1, is_in_process=True)

    result = await functions.invoke_once(serving, b'{"a": 1}')

    printed, logged = result.log.splitlines()
    assert json.loads(result.payload) == [{"a": 1}, "shop", "test"]
    assert printed == "printed {'a': 1}"
    assert logged.startswith("[WARNING]\t")
    assert logged.endswith("\tlogged")


async def test_function_that_fails_once_is_a_result(shop: Function) -> None:
    serving = Serving(replace(shop, handler=f"{NAME}.fails"), concurrency=1, is_in_process=True)

    result = await functions.invoke_once(serving, b"{}")

    assert (result.function_error, json.loads(result.payload)["errorMessage"]) == (
        "Unhandled",
        "no",
    )


@pytest.mark.slow
async def test_function_runs_once_in_an_environment(shop: Function) -> None:
    sink = FakeSink()
    serving = Serving(replace(shop, handler=f"{NAME}.fails"), concurrency=1)

    result = await functions.invoke_once(serving, b"{}", sink, LogType.TAIL)

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
    serving = Serving(replace(shop, handler=handler), concurrency=1, is_in_process=True)

    result = await functions.invoke_once(serving, b"{}")

    error = json.loads(result.payload)
    assert f"{error['errorType']}: {error['errorMessage']}".startswith(message)
    assert result.log.startswith(f"[ERROR] {message}")


async def test_single_invocation_of_what_is_not_callable_is_refused(shop: Function) -> None:
    handler, message = NO_FUNCTION
    serving = Serving(replace(shop, handler=handler), concurrency=1, is_in_process=True)

    with pytest.raises(InvalidSetting, match=message):
        await functions.invoke_once(serving, b"{}")


@pytest.mark.slow
@pytest.mark.parametrize("is_in_process", [True, False], ids=["in-process", "isolated"])
async def test_function_is_invokable_in_both_ways(shop: Function, *, is_in_process: bool) -> None:
    shop = replace(shop, handler=f"{NAME}.where")
    await asyncio.to_thread(save, shop.code, WHERE)
    serving = Serving(shop, is_in_process=is_in_process)

    async with functions.invokable(serving, FakeSink()) as (invoker, isolation):
        result = await invoker.invoke(asked(shop))

    assert (json.loads(result.payload) == os.getpid()) == is_in_process
    assert isolation.startswith("in-process: " if is_in_process else "isolation: ")


@pytest.mark.slow
async def test_environments_serve_what_was_saved(shop: Function) -> None:
    saved = asyncio.get_running_loop().create_future()

    class ReloadSink:
        def emit(self, notice: Notice, /) -> None:
            if isinstance(notice, FunctionReloaded):
                saved.set_result(notice)

    shop = replace(shop, handler=f"{NAME}.where")
    await asyncio.to_thread(save, shop.code, WHERE.replace("os.getpid()", "'old'"))
    serving = Serving(shop, is_reloading=True)

    async with asyncio.timeout(PATIENCE_SECONDS):
        async with functions.invokable(serving, ReloadSink()) as (invoker, _):
            before = await invoker.invoke(asked(shop))
            await asyncio.to_thread(save, shop.code, WHERE.replace("os.getpid()", "'new'"))
            await saved
            after = await invoker.invoke(asked(shop))

    reloaded = saved.result()
    assert (reloaded.function, reloaded.version) == ("shop", "$LATEST")
    assert (before.payload, after.payload) == (b'"old"', b'"new"')

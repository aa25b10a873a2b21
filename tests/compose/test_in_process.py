"""A function that shares this process, from its settings."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.compose import in_process
from gateway.config.command_line import document
from gateway.config.function import Execution, Function
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Invoker, Sink
from gateway.core.notices import (
    FunctionReloaded,
    Notice,
    OperatorWarning,
)
from gateway.invokers.code import HandlerCode
from gateway.testing import FakeSink
from tests.compose.shop import (
    MODULE,
    NAME,
    NO_FUNCTION,
    NO_HANDLERS,
    PATIENCE_SECONDS,
    asked,
    save,
)


def test_process_becomes_the_functions(shop: Function) -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    del os.environ["TZ"]
    streams = sys.stdout, sys.stderr

    with in_process.function_process(shop):
        routed = sys.stdout, sys.stderr

    assert os.environ["AWS_LAMBDA_FUNCTION_NAME"] == "shop"
    assert os.environ["STAGE"] == "test"
    assert os.environ["_HANDLER"] == f"{NAME}.handler"
    assert time.strftime("%z") == "+0000"
    assert routed[0] is not streams[0]
    assert (sys.stdout, sys.stderr) == streams


def test_log_stream_is_of_today_and_another_one_each_time(shop: Function) -> None:
    names = set()
    days = {time.strftime("%Y/%m/%d", time.gmtime())}

    for _ in range(2):
        with in_process.function_process(shop):
            names.add(os.environ["AWS_LAMBDA_LOG_STREAM_NAME"])

    days.add(time.strftime("%Y/%m/%d", time.gmtime()))  # it may be midnight
    assert len(names) == 2
    assert {name.partition("/[$LATEST]")[0] for name in names} <= days


@pytest.mark.parametrize(("handler", "message"), [*NO_HANDLERS, NO_FUNCTION])
async def test_handler_that_is_not_found_is_an_invalid_setting(
    handler: str, message: str, shop: Function
) -> None:
    shop = replace(shop, handler=handler)

    with pytest.raises(InvalidSetting) as raised:
        async with running(shop, FakeSink()):
            raise AssertionError("it runs")

    assert str(raised.value).startswith(message)


async def test_import_that_fails_at_the_start_is_repeated_by_an_invocation(shop: Function) -> None:
    module = (shop.code / f"{NAME}.py").read_text()
    (shop.code / f"{NAME}.py").write_text("raise ValueError('no database')\n")
    sink = FakeSink()

    async with running(replace(shop, timeout_seconds=60), sink) as invoker:
        failed = await invoker.invoke(asked(shop))
        (shop.code / f"{NAME}.py").write_text(module)
        served = await invoker.invoke(asked(shop))

    warning = "init failed: ValueError: no database; it is run again inside the next invocation"
    assert sink.notices == [OperatorWarning(warning)]
    assert json.loads(failed.payload)["errorType"] == "ValueError"
    assert served.function_error == ""


async def test_running_function_answers(shop: Function) -> None:
    os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "shop"

    async with running(shop, FakeSink()) as invoker:
        result = await invoker.invoke(asked(shop))

    assert json.loads(result.payload)[1] == "shop"


@pytest.mark.parametrize(
    ("threads", "concurrency", "expected"), [(None, 3, 3), (2, 3, 2), (9, 3, 3), (0, 3, 0)]
)
async def test_threads_are_as_many_as_asked_for_up_to_the_concurrency(
    threads: int | None, concurrency: int, expected: int, shop: Function
) -> None:
    execution = Execution(is_in_process=True, threads=threads, concurrency=concurrency)
    shop = replace(shop, execution=execution)

    invoker = in_process.in_process(shop, HandlerCode(shop.handler, shop.code))

    assert invoker._settings.threads == expected
    assert invoker._settings.timeout_seconds == shop.timeout_seconds


@asynccontextmanager
async def running(
    function: Function, sink: Sink, *, is_reloading: bool = False
) -> AsyncIterator[Invoker]:
    described = document(function, is_in_process=True, concurrency=1, is_reloading=is_reloading)
    async with in_process.running(described, described.functions[0], sink) as found:
        yield found.invoker


class WaitingSink:
    """A Sink whose first notice can be waited for."""

    def __init__(self) -> None:
        self.first: asyncio.Future[Notice] = asyncio.get_running_loop().create_future()

    def emit(self, notice: Notice, /) -> None:
        if not self.first.done():
            self.first.set_result(notice)


async def test_reloading_function_serves_what_was_saved(shop: Function) -> None:
    """It starts although there is no handler yet: the next save may bring it."""
    shop = replace(shop, handler=f"{NAME}.later")
    saved = MODULE + "\n\ndef later(event, context):\n    return 'saved'\n"
    sink = WaitingSink()

    async with asyncio.timeout(PATIENCE_SECONDS):
        async with running(shop, sink, is_reloading=True) as invoker:
            before = await invoker.invoke(asked(shop))
            await asyncio.to_thread(save, shop.code, saved)
            notice = await sink.first
            after = await invoker.invoke(asked(shop))

    assert json.loads(before.payload)["errorType"] == "Runtime.HandlerNotFound"
    assert notice == FunctionReloaded(f"{NAME}.later")
    assert after.payload == b'"saved"'

"""What the settings become: everything put together, without a server around it."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import compose
from gateway.config.remote import Address, Emulators, Remote
from gateway.config.settings import Function, Serving
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting, ServiceUnreachable
from gateway.core.http import HttpRequest
from gateway.core.invocation import Invocation, LogType
from gateway.core.listener import Listener
from gateway.core.notices import (
    FunctionReloaded,
    InitReported,
    InitStarted,
    InvocationReported,
    Notice,
    OperatorWarning,
    RequestServed,
)
from gateway.invokers.code import HandlerCode
from gateway.testing import FakeInvoker, FakeSink
from gateway.web.asgi import Message

PATIENCE_SECONDS = 10.0

NAME = "gw_composed"
MODULE = """
import json, logging, os, sys

def handler(event, context):
    print("printed", event)
    logging.getLogger().warning("logged")
    return [event, context.function_name, os.environ.get("STAGE")]

def served(event, context):
    return {"statusCode": 200, "body": json.dumps(event)}

def fails(event, context):
    raise ValueError("no")

number = 7
"""

DNS_NAME = "shop-1234567890.eu-west-1.elb.amazonaws.com"


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the process back its variables, time zone, log handlers, path and modules."""
    variables, path, handlers = dict(os.environ), sys.path[:], logging.getLogger().handlers[:]
    yield
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    sys.path[:] = path
    sys.modules.pop(NAME, None)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def shop(tmp_path: Path) -> Function:
    """A function called shop, of a code directory with handlers of every kind."""
    (tmp_path / f"{NAME}.py").write_text(MODULE)
    return Function(
        f"{NAME}.handler",
        tmp_path,
        name="shop",
        region="eu-west-1",
        account_id="111122223333",
        memory_mb=256,
        environment={"STAGE": "test"},
    )


def asked(function: Function, event: str = "{}") -> Invocation:
    return Invocation("8dfd2e43", function.reference(), event.encode())


# Listeners


def test_listener_is_the_real_one(shop: Function) -> None:
    found = compose.listener(Serving(shop), "http", 8080)

    assert found == Listener("http", 8080, DNS_NAME)


def test_listener_is_the_one_that_events_shall_name(shop: Function) -> None:
    serving = Serving(shop, listener_url="https://Shop.example.org")

    found = compose.listener(serving, "http", 8080)

    assert found == Listener("https", 443, "shop.example.org", replaces_local_host=True)


def test_listener_that_is_none_is_an_invalid_setting(shop: Function) -> None:
    with pytest.raises(InvalidSetting, match="'shop' is no listener"):
        compose.listener(Serving(shop, listener_url="shop"), "http", 8080)


def event(serving: Serving) -> Any:
    request = HttpRequest("GET", b"/", b"/", b"", [], server=("192.0.2.1", 8080))
    return json.loads(compose.event_of(serving, request))


def test_event_names_the_target_group_and_the_listener(shop: Function) -> None:
    found = event(Serving(shop))

    arn = found["requestContext"]["elb"]["targetGroupArn"]
    assert arn.startswith("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/")
    assert found["headers"]["host"] == f"{DNS_NAME}:8080"
    assert found["headers"]["x-forwarded-port"] == "8080"
    assert found["headers"]["x-amzn-trace-id"].startswith("Root=1-")


def test_event_has_the_form_that_the_attributes_ask_for(shop: Function) -> None:
    found = event(Serving(shop, attributes=Attributes(multi_value_headers=True)))

    assert found["multiValueHeaders"]["x-forwarded-proto"] == ["http"]


@pytest.mark.parametrize(
    "changes",
    [{"target_group_arn": "arn:aws:x"}, {"region": "Europe"}, {"account_id": "1"}, {"name": "a b"}],
)
def test_name_that_aws_refuses_is_an_invalid_setting(
    changes: dict[str, str], shop: Function
) -> None:
    serving = Serving(replace(shop, **changes))

    with pytest.raises(InvalidSetting):
        compose.balancer(serving, compose.listener(serving, "http", 80), FakeInvoker([]))


async def test_remote_function_is_invoked_where_it_is(shop: Function) -> None:
    place = Emulators((Address("http", "127.0.0.1", 1),))
    serving = Serving(replace(shop, handler=""), remote=Remote(place))
    async with compose.invokable(serving, None) as (invoker, where):
        with pytest.raises(ServiceUnreachable):
            await invoker.invoke(asked(shop))

    assert where == "remote: 1 emulator"


async def test_front_leads_to_the_function(shop: Function) -> None:
    serving = Serving(replace(shop, handler=f"{NAME}.served"), concurrency=1)
    sink = FakeSink()
    sent: list[Message] = []
    scope = {"type": "http", "method": "GET", "path": "/cart", "headers": []}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with compose.running_function(serving, sink) as invoker:
        seen_as = compose.listener(serving, "http", 80)
        front = compose.portable_front(serving, seen_as, invoker, sink)
        await front(scope, receive, send)

    (notice,) = sink.notices
    assert isinstance(notice, RequestServed)
    assert json.loads(sent[1]["body"])["path"] == "/cart"
    assert notice.response.forwarding.target_status == 200


# The function's process


def test_process_becomes_the_functions(shop: Function) -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    del os.environ["TZ"]
    streams = sys.stdout, sys.stderr

    with compose.function_process(shop):
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
        with compose.function_process(shop):
            names.add(os.environ["AWS_LAMBDA_LOG_STREAM_NAME"])

    days.add(time.strftime("%Y/%m/%d", time.gmtime()))  # it may be midnight
    assert len(names) == 2
    assert {name.partition("/[$LATEST]")[0] for name in names} <= days


async def test_function_runs_once(shop: Function) -> None:
    serving = Serving(shop, concurrency=1, is_in_process=True)

    result = await compose.invoke_once(serving, b'{"a": 1}')

    printed, logged = result.log.splitlines()
    assert json.loads(result.payload) == [{"a": 1}, "shop", "test"]
    assert printed == "printed {'a': 1}"
    assert logged.startswith("[WARNING]\t")
    assert logged.endswith("\tlogged")


async def test_function_that_fails_once_is_a_result(shop: Function) -> None:
    serving = Serving(replace(shop, handler=f"{NAME}.fails"), concurrency=1, is_in_process=True)

    result = await compose.invoke_once(serving, b"{}")

    assert (result.function_error, json.loads(result.payload)["errorMessage"]) == (
        "Unhandled",
        "no",
    )


@pytest.mark.slow
async def test_function_runs_once_in_an_environment(shop: Function) -> None:
    sink = FakeSink()
    serving = Serving(replace(shop, handler=f"{NAME}.fails"), concurrency=1)

    result = await compose.invoke_once(serving, b"{}", sink, LogType.TAIL)

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


NO_HANDLERS = [
    ("gw_none.handler", "Runtime.ImportModuleError: Unable to import module 'gw_none'"),
    (f"{NAME}.none", f"Runtime.HandlerNotFound: Handler 'none' missing on module '{NAME}'"),
    (NAME, f"Runtime.MalformedHandlerName: Bad handler '{NAME}'"),
]
NO_FUNCTION = (f"{NAME}.number", "the handler is a int, not a function; name one: module.function")


@pytest.mark.parametrize(("handler", "message"), [*NO_HANDLERS, NO_FUNCTION])
async def test_handler_that_is_not_found_is_an_invalid_setting(
    handler: str, message: str, shop: Function
) -> None:
    serving = Serving(replace(shop, handler=handler), concurrency=1, is_in_process=True)

    with pytest.raises(InvalidSetting) as raised:
        async with compose.running_function(serving, FakeSink()):
            raise AssertionError("it runs")

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(("handler", "message"), NO_HANDLERS)
async def test_single_invocation_answers_with_the_error_of_its_init(
    handler: str, message: str, shop: Function
) -> None:
    serving = Serving(replace(shop, handler=handler), concurrency=1, is_in_process=True)

    result = await compose.invoke_once(serving, b"{}")

    error = json.loads(result.payload)
    assert f"{error['errorType']}: {error['errorMessage']}".startswith(message)
    assert result.log.startswith(f"[ERROR] {message}")


async def test_single_invocation_of_what_is_not_callable_is_refused(shop: Function) -> None:
    handler, message = NO_FUNCTION
    serving = Serving(replace(shop, handler=handler), concurrency=1, is_in_process=True)

    with pytest.raises(InvalidSetting, match=message):
        await compose.invoke_once(serving, b"{}")


async def test_import_that_fails_at_the_start_is_repeated_by_an_invocation(shop: Function) -> None:
    module = (shop.code / f"{NAME}.py").read_text()
    (shop.code / f"{NAME}.py").write_text("raise ValueError('no database')\n")
    sink = FakeSink()

    async with compose.running_function(Serving(shop, concurrency=1), sink) as invoker:
        failed = await invoker.invoke(asked(shop))
        (shop.code / f"{NAME}.py").write_text(module)
        served = await invoker.invoke(asked(shop))

    warning = "init failed: ValueError: no database; it is run again inside the next invocation"
    assert sink.notices == [OperatorWarning(warning)]
    assert json.loads(failed.payload)["errorType"] == "ValueError"
    assert served.function_error == ""


# The running function


async def test_running_function_answers(shop: Function) -> None:
    os.environ["AWS_LAMBDA_FUNCTION_NAME"] = "shop"

    async with compose.running_function(Serving(shop, concurrency=1), FakeSink()) as invoker:
        result = await invoker.invoke(asked(shop))

    assert json.loads(result.payload)[1] == "shop"


@pytest.mark.parametrize(
    ("threads", "concurrency", "expected"), [(None, 3, 3), (2, 3, 2), (9, 3, 3), (0, 3, 0)]
)
async def test_threads_are_as_many_as_asked_for_up_to_the_concurrency(
    threads: int | None, concurrency: int, expected: int, shop: Function
) -> None:
    serving = Serving(shop, threads=threads, concurrency=concurrency)

    invoker = compose.in_process(serving, HandlerCode(shop.handler, shop.code))

    assert invoker._settings.threads == expected
    assert invoker._settings.timeout_seconds == shop.timeout_seconds


class WaitingSink:
    """A Sink whose first notice can be waited for."""

    def __init__(self) -> None:
        self.first: asyncio.Future[Notice] = asyncio.get_running_loop().create_future()

    def emit(self, notice: Notice, /) -> None:
        if not self.first.done():
            self.first.set_result(notice)


def save(directory: Path, text: str) -> None:
    """Put the whole file in place at once, so that the watch sees one change."""
    written = directory / "being_written"
    written.write_text(text)
    written.replace(directory / f"{NAME}.py")


async def test_reloading_function_serves_what_was_saved(shop: Function) -> None:
    """It starts although there is no handler yet: the next save may bring it."""
    serving = Serving(replace(shop, handler=f"{NAME}.later"), concurrency=1, is_reloading=True)
    saved = MODULE + "\n\ndef later(event, context):\n    return 'saved'\n"
    sink = WaitingSink()

    async with asyncio.timeout(PATIENCE_SECONDS):
        async with compose.running_function(serving, sink) as invoker:
            before = await invoker.invoke(asked(shop))
            await asyncio.to_thread(save, shop.code, saved)
            notice = await sink.first
            after = await invoker.invoke(asked(shop))

    assert json.loads(before.payload)["errorType"] == "Runtime.HandlerNotFound"
    assert notice == FunctionReloaded(f"{NAME}.later")
    assert after.payload == b'"saved"'


# Where the handler runs


@pytest.mark.slow
@pytest.mark.parametrize("is_in_process", [True, False], ids=["in-process", "isolated"])
async def test_function_is_invokable_in_both_ways(shop: Function, *, is_in_process: bool) -> None:
    shop = replace(shop, handler=f"{NAME}.where")
    await asyncio.to_thread(save, shop.code, WHERE)
    serving = Serving(shop, is_in_process=is_in_process)

    async with compose.invokable(serving, FakeSink()) as (invoker, isolation):
        result = await invoker.invoke(asked(shop))

    assert (json.loads(result.payload) == os.getpid()) == is_in_process
    assert isolation.startswith("in-process: " if is_in_process else "isolation: ")


WHERE = "import os\n\n\ndef where(event, context):\n    return os.getpid()\n"


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
        async with compose.invokable(serving, ReloadSink()) as (invoker, _):
            before = await invoker.invoke(asked(shop))
            await asyncio.to_thread(save, shop.code, WHERE.replace("os.getpid()", "'new'"))
            await saved
            after = await invoker.invoke(asked(shop))

    assert (before.payload, after.payload) == (b'"old"', b'"new"')

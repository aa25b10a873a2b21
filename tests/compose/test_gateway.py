"""A document into a running gateway; whole ones are in tests/process/test_many_functions.py."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.compose.gateway import gateway
from gateway.config.document import Document
from gateway.config.function import Execution, Function
from gateway.config.listener import Listener, Rule
from gateway.config.target_group import TargetGroup
from gateway.core.errors import InvalidSetting
from gateway.core.http import HttpRequest
from gateway.core.invocation import Invocation
from gateway.core.rules import PathPattern
from gateway.testing import FakeSink

pytestmark = pytest.mark.slow

CODE = """
import os

def handler(event, context):
    found = os.environ["AWS_LAMBDA_FUNCTION_NAME"] + os.environ.get("STAGE", "")
    return {"statusCode": 200, "body": found} if "path" in event else found
"""


@pytest.fixture
def described(tmp_path: Path) -> Document:
    """Two functions behind a listener with a rule."""
    (tmp_path / "app.py").write_text(CODE)
    execution = Execution(concurrency=1)
    functions = tuple(
        Function("app.handler", tmp_path, name, execution=execution) for name in ("shop", "cart")
    )
    groups = (TargetGroup("shops", "shop"), TargetGroup("carts", "cart"))
    listener = Listener("shops", rules=(Rule(1, PathPattern(("/cart",)), "carts"),))
    return Document((listener,), groups, functions)


async def test_listener_and_service_lead_to_the_same_functions(described: Document) -> None:
    async with gateway(described, sink=FakeSink()) as running:
        bodies = [
            (await running.responders[described.listeners[0]].respond(request(path))).body
            for path in (b"/", b"/cart")
        ]
        invocation = Invocation("id", described.functions[1].reference(), b"{}")
        result = await running.invoker.invoke(invocation)

    assert bodies == [b"shop", b"cart"]
    assert json.loads(result.payload) == "cart"
    assert running.said.count("isolation: ") == 1


def request(path: bytes) -> HttpRequest:
    return HttpRequest("GET", path, path, b"", [])


async def test_reload_takes_in_code_and_other_settings(described: Document) -> None:
    code = described.functions[0].code / "app.py"
    shop, cart = described.functions
    staged = replace(described, functions=(shop, replace(cart, environment={"STAGE": "-two"})))
    async with gateway(described, sink=FakeSink()) as running:
        failures = await running.reload(staged)
        invocation = Invocation("id", cart.reference(), b"{}")
        result = await running.invoker.invoke(invocation)
        await asyncio.to_thread(code.write_text, "broken(\n")
        broken = await running.reload(staged)
        kept = await running.invoker.invoke(invocation)

    assert failures == []
    assert result.payload == kept.payload == b'"cart-two"'
    assert len(broken) == 2


async def test_reload_of_other_listeners_is_refused(described: Document) -> None:
    moved = replace(described, listeners=(Listener("shops", port=1),))
    async with gateway(described, sink=FakeSink()) as running:
        with pytest.raises(InvalidSetting, match="are read at the start; restart"):
            await running.reload(moved)


async def test_document_that_does_not_fit_together_is_refused(described: Document) -> None:
    with pytest.raises(InvalidSetting, match="there is no target group 'x'"):
        async with gateway(replace(described, listeners=(Listener("x"),)), sink=None):
            raise AssertionError("it runs")


async def test_function_that_cannot_be_loaded_ends_the_others(described: Document) -> None:
    shop, cart = described.functions
    broken = replace(described, functions=(shop, replace(cart, handler="nothing.handler")))

    with pytest.raises(InvalidSetting, match="No module named 'nothing'"):
        async with gateway(broken, sink=None):
            raise AssertionError("it runs")


async def test_function_that_cannot_start_behind_one_that_is_watched_is_refused_as_it_is(
    described: Document,
) -> None:
    first, second = described.functions
    execution = replace(second.execution, requires_init=True)
    broken = replace(second, handler="missing.handler", execution=execution)
    process = replace(described.process, is_reloading=True)
    asked = replace(described, functions=(first, broken), process=process)

    with pytest.raises(InvalidSetting, match="No module named 'missing'"):
        async with gateway(asked, sink=FakeSink()):
            pytest.fail("it runs")

"""A listener from its settings."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.compose import in_process, listener
from gateway.config.settings import Function, Serving
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting
from gateway.core.http import HttpRequest
from gateway.core.listener import Listener
from gateway.core.notices import (
    RequestServed,
)
from gateway.testing import FakeInvoker, FakeSink
from gateway.web.asgi import Message
from tests.compose.shop import NAME

DNS_NAME = "shop-1234567890.eu-west-1.elb.amazonaws.com"


def test_listener_is_the_real_one(shop: Function) -> None:
    found = listener.listener(Serving(shop), "http", 8080)

    assert found == Listener("http", 8080, DNS_NAME)


def test_listener_is_the_one_that_events_shall_name(shop: Function) -> None:
    serving = Serving(shop, listener_url="https://Shop.example.org")

    found = listener.listener(serving, "http", 8080)

    assert found == Listener("https", 443, "shop.example.org", replaces_local_host=True)


def test_malformed_listener_is_an_invalid_setting(shop: Function) -> None:
    with pytest.raises(InvalidSetting, match="'shop' is not a listener"):
        listener.listener(Serving(shop, listener_url="shop"), "http", 8080)


def event(serving: Serving) -> Any:
    request = HttpRequest("GET", b"/", b"/", b"", [], server=("192.0.2.1", 8080))
    return json.loads(listener.event_of(serving, request))


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
        listener.balancer(serving, listener.listener(serving, "http", 80), FakeInvoker([]))


async def test_front_leads_to_the_function(shop: Function) -> None:
    serving = Serving(replace(shop, handler=f"{NAME}.served"), concurrency=1)
    sink = FakeSink()
    sent: list[Message] = []
    scope = {"type": "http", "method": "GET", "path": "/cart", "headers": []}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with in_process.running_function(serving, sink) as invoker:
        seen_as = listener.listener(serving, "http", 80)
        front = listener.portable_front(serving, seen_as, invoker, sink)
        await front(scope, receive, send)

    (notice,) = sink.notices
    assert isinstance(notice, RequestServed)
    assert json.loads(sent[1]["body"])["path"] == "/cart"
    assert notice.response.forwarding.target_status == 200

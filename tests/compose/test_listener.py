"""A listener from its settings."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.compose import listener
from gateway.config.command_line import document
from gateway.config.document import Document
from gateway.config.function import Function
from gateway.config.target_group import TargetGroup
from gateway.core.attributes import Attributes
from gateway.core.errors import InvalidSetting
from gateway.core.http import HttpRequest
from gateway.core.invocation import InvocationResult
from gateway.core.listener import ListenerAddress
from gateway.core.notices import (
    RequestServed,
)
from gateway.testing import FakeInvoker, FakeSink
from gateway.web.asgi import Message

DNS_NAME = "shop-1234567890.eu-west-1.elb.amazonaws.com"


def test_listener_is_the_real_one(shop: Function) -> None:
    found = address(document(shop))

    assert found == ListenerAddress("http", 8080, DNS_NAME)


def test_listener_is_the_one_that_events_shall_name(shop: Function) -> None:
    found = address(document(shop, seen_as="https://Shop.example.org"))

    assert found == ListenerAddress("https", 443, "shop.example.org", replaces_local_host=True)


def test_malformed_listener_is_an_invalid_setting(shop: Function) -> None:
    with pytest.raises(InvalidSetting, match="'shop' is not a listener"):
        address(document(shop, seen_as="shop"))


def address(described: Document) -> ListenerAddress:
    return listener.address(described, described.listeners[0], "http", 8080)


def event(described: Document) -> Any:
    request = HttpRequest("GET", b"/", b"/", b"", [], server=("192.0.2.1", 8080))
    return json.loads(listener.event_of(described, request))


def test_event_names_the_target_group_and_the_listener(shop: Function) -> None:
    found = event(document(shop))

    arn = found["requestContext"]["elb"]["targetGroupArn"]
    assert arn.startswith("arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/")
    assert found["headers"]["host"] == f"{DNS_NAME}:8080"
    assert found["headers"]["x-forwarded-port"] == "8080"
    assert found["headers"]["x-amzn-trace-id"].startswith("Root=1-")


def test_event_has_the_form_that_the_attributes_ask_for(shop: Function) -> None:
    found = event(document(shop, attributes=Attributes(multi_value_headers=True)))

    assert found["multiValueHeaders"]["x-forwarded-proto"] == ["http"]


@pytest.mark.parametrize("changes", [{"region": "Europe"}, {"account_id": "1"}, {"name": "a b"}])
def test_name_that_aws_refuses_is_an_invalid_setting(
    changes: dict[str, str], shop: Function
) -> None:
    described = document(replace(shop, **changes))

    with pytest.raises(InvalidSetting):
        listener.forward(described, described.listeners[0], address(described))


def test_target_group_arn_that_aws_refuses_is_an_invalid_setting(shop: Function) -> None:
    described = document(shop, target_group_arn="arn:aws:x")

    with pytest.raises(InvalidSetting, match="target group ARN 'arn:aws:x' is not valid"):
        listener.forward(described, described.listeners[0], address(described))


async def test_portable_front_leads_to_the_function(shop: Function) -> None:
    described = document(shop)
    reply = b'{"statusCode": 200, "body": "hello"}'
    invoker, sink = FakeInvoker([InvocationResult(reply)]), FakeSink()
    sent: list[Message] = []
    scope = {"type": "http", "method": "GET", "path": "/cart", "headers": []}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    [served] = described.listeners
    responder = listener.responder(described, served, address(described), invoker)
    front = listener.portable_front(served, address(described), responder, sink)
    await front(scope, receive, send)

    (notice,) = sink.notices
    assert isinstance(notice, RequestServed)
    assert (sent[1]["body"], json.loads(invoker.invocations[0].payload)["path"]) == (
        b"hello",
        "/cart",
    )


def test_attributes_of_a_target_group_are_its_own(shop: Function) -> None:
    described = document(shop)
    groups = (
        *described.target_groups,
        TargetGroup("multi", "shop", multi_value_headers=True),
    )
    described = replace(described, target_groups=groups)
    request = HttpRequest("GET", b"/", b"/", b"", [])
    events = []
    for group in groups:
        one = replace(described.listeners[0], target_group=group.name)
        payload = listener.forward(described, one, address(described)).codec.encode(request)
        events.append(json.loads(payload))

    assert ["multiValueHeaders" in event for event in events] == [False, True]
    assert [event["requestContext"]["elb"]["targetGroupArn"].split("/")[1] for event in events] == [
        "shop",
        "multi",
    ]

"""Bodies as ASGI servers hand them over: in pieces, too large, given up."""

from collections.abc import Callable, Iterator

import pytest

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.web.asgi_body import DRAIN_LIMIT, Message
from tests.web.exchange import CHUNK, CHUNKED, DISCONNECT, Answering, World, body, framed, shop


async def test_request_that_announces_no_body_is_served_without_asking_for_one() -> None:
    server = await World().serve([])

    assert (server.status, server.given) == (404, [])


async def test_body_of_http_2_needs_no_announcement() -> None:
    responder = Answering()

    await World(responder).serve(body(b"hello"), http_version="2")

    assert responder.requests[0].body == b"hello"


WAYS: dict[str, Callable[[int], list[Message]]] = {
    "at once": lambda size: body(b"x" * size),
    "in two": lambda size: body(b"x" * (size // 2), b"x" * (size - size // 2)),
    "in many": lambda size: body(*[CHUNK] * (size // len(CHUNK)), b"x" * (size % len(CHUNK))),
    "with an end of its own": lambda size: body(b"x" * size, b""),
    "a byte late": lambda size: body(b"x" * (size - 1), b"x"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("size", [REQUEST_BODY_LIMIT - 1, REQUEST_BODY_LIMIT])
async def test_body_up_to_the_limit_is_taken(size: int, is_declared: bool, way: str) -> None:
    responder = Answering()

    await World(responder).serve(WAYS[way](size), **framed(size, is_declared=is_declared))

    assert responder.requests[0].body == b"x" * size


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_declared", [True, False])
async def test_body_over_the_limit_is_413_and_reaches_no_handler(
    is_declared: bool, way: str
) -> None:
    size = REQUEST_BODY_LIMIT + 1
    world = World(shop())

    server = await world.serve(WAYS[way](size), **framed(size, is_declared=is_declared))

    forwarding = world.notice.response.forwarding
    assert (server.status, server.headers[b"connection"]) == (413, b"close")
    assert server.received == size
    assert world.notice.request.body == b""
    assert forwarding.error_reason == "LambdaRequestTooLarge"
    assert forwarding.detail == "request body over 1048576 bytes"


def endless() -> Iterator[Message]:
    """More than is allowed to be read."""
    for _ in range(8 * DRAIN_LIMIT // len(CHUNK)):
        yield {"type": "http.request", "body": CHUNK, "more_body": True}


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ([CHUNKED], REQUEST_BODY_LIMIT + len(CHUNK)),
        ([(b"content-length", b"9" * 12)], len(CHUNK)),
        ([(b"content-length", b"9" * 5000)], len(CHUNK)),
        ([(b"content-length", b"1, 1")], REQUEST_BODY_LIMIT + len(CHUNK)),
    ],
    ids=["undeclared", "declared", "beyond int()", "no number"],
)
async def test_refused_body_is_drained_up_to_a_limit(
    headers: list[tuple[bytes, bytes]], kept: int
) -> None:
    server = await World().serve(endless(), headers=headers)

    assert server.status == 413
    assert server.received == kept + DRAIN_LIMIT


async def test_client_that_leaves_while_a_refused_body_is_drained_is_answered_like_any_other() -> (
    None
):
    messages = [{"type": "http.request", "body": CHUNK, "more_body": True}, DISCONNECT]

    server = await World().serve(messages, **framed(REQUEST_BODY_LIMIT + 1))

    assert (server.status, server.given) == (413, messages)

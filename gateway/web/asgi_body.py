"""The messages that an ASGI server has of a request: its body, and that the client has left."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.errors import IncompleteRequest, RequestTooLarge
from gateway.core.http import Headers, HttpRequest, header
from gateway.telemetry.system import turns_of_the_loop

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

DRAIN_LIMIT = 2 * 1024 * 1024
"""Bytes of a refused body that are read and dropped, so that the client sees the 413 and no
reset."""

DISCONNECT_TURNS = 4
"""Turns of the event loop after which a server has handed over what it knows: one starts the task
that asks, and each of two messages may take one more through a queue."""

BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})


def has_body(request: HttpRequest) -> bool:
    """Say whether a body is to be read; in HTTP/1 one of two headers announces it."""
    if request.http_version not in {"1.0", "1.1"}:
        return True
    return any(name in BODY_HEADERS for name, _ in request.headers)


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """Return the body; raises RequestTooLarge without having stored it, IncompleteRequest."""
    message = await next_body_message(receive)
    body = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= REQUEST_BODY_LIMIT:
        return bytes(body)
    kept = bytearray()
    is_over = len(body) > REQUEST_BODY_LIMIT or declares_too_much(headers)
    while not is_over:
        kept += body
        if not message.get("more_body", False):
            return bytes(kept)
        message = await next_body_message(receive)
        body = message.get("body", b"")
        is_over = len(kept) + len(body) > REQUEST_BODY_LIMIT
    kept.clear()
    await drop_body(message, receive)
    raise RequestTooLarge(f"request body over {REQUEST_BODY_LIMIT} bytes")


def declares_too_much(headers: Headers) -> bool:
    """Say whether Content-Length promises more than may come."""
    declared = header(headers, b"content-length") or b""
    # Cut because int() raises above 4300 digits.
    return declared.isdigit() and int(declared[:18]) > REQUEST_BODY_LIMIT


async def next_body_message(receive: Receive) -> Message:
    """Return the next `http.request` message; raises IncompleteRequest when the client has left."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise IncompleteRequest("the client left before its body was complete")
    return message


async def drop_body(message: Message, receive: Receive) -> None:
    """Drop what a refused client still sends, up to a limit."""
    left = DRAIN_LIMIT
    while left > 0 and message.get("more_body", False):
        message = await receive()
        left -= len(message.get("body", b""))
        if message["type"] == "http.disconnect":
            return


async def has_left(receive: Receive) -> bool:
    """Say whether the client has disconnected, without waiting for it to."""
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(_message_after_body(receive))
        await turns_of_the_loop(DISCONNECT_TURNS)
        if not asking.done():
            asking.cancel()
            return False
    return bool(asking.result()["type"] == "http.disconnect")


async def _message_after_body(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return await receive()  # that was the empty body, not read before
    return message

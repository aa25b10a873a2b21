"""What an ASGI server is taken to add, by what its `send` belongs to; real servers are in
tests/e2e/test_server_headers.py."""

from collections.abc import Awaitable, Callable
from functools import partial
from types import CellType, SimpleNamespace
from typing import Any

import pytest

from gateway.web.server_headers import WRAPPERS, added_headers

Send = Callable[[Any], Awaitable[None]]
BOTH = {b"server", b"date"}


class Uvicorn:
    """Has what uvicorn's RequestResponseCycle has."""

    def __init__(self, *names: bytes) -> None:
        self.default_headers = [(name, b"x") for name in names]

    async def send(self, message: Any) -> None:
        """Take a message."""


class Hypercorn:
    """Has what hypercorn's HTTPStream has."""

    def __init__(self, *names: bytes) -> None:
        self.config = SimpleNamespace(response_headers=lambda _: [(name, b"x") for name in names])

    async def app_send(self, message: Any) -> None:
        """Take a message."""


class Middleware:
    """Has a method that wraps another `send`, as Starlette's responders for compression have."""

    def __init__(self, send: Send) -> None:
        self.send = send

    async def send_compressed(self, message: Any) -> None:
        """Pass a message on."""
        await self.send(message)


def wrapped(send: Send) -> Send:
    """Return a function around a `send`, as Starlette's error middleware does."""

    async def inner(message: Any) -> None:
        await send(message)

    return inner


async def lonely(message: Any) -> None:
    """Take a message for a server that nothing is known of."""


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (Uvicorn(b"date", b"Server").send, BOTH),
        (Uvicorn(b"date", b"x-other").send, {b"date"}),
        (Uvicorn().send, set()),
        (Hypercorn(b"date", b"server", b"alt-svc").app_send, BOTH),
        (Hypercorn().app_send, set()),
        (wrapped(wrapped(Uvicorn(b"date").send)), {b"date"}),
        (Middleware(wrapped(Hypercorn(b"server").app_send)).send_compressed, {b"server"}),
        (lonely, set()),
        (wrapped(lonely), set()),
        (partial(lonely), set()),
    ],
)
def test_what_the_server_adds_is_omitted(send: Send, expected: set[bytes]) -> None:
    assert added_headers(send) == expected


def test_wrappers_that_lead_in_a_circle_end() -> None:
    first = Middleware(lonely)
    first.send = first.send_compressed

    assert added_headers(first.send) == set()


def test_wrapper_with_a_variable_that_has_no_value_yet_is_looked_through() -> None:
    send: Send = Uvicorn(b"date").send

    async def timed(message: Any) -> None:
        await send(message)
        print(seconds)

    assert added_headers(timed) == {b"date"}
    seconds = 1


def test_functions_that_hold_each_other_are_looked_at_once() -> None:
    looks = 0

    class Counted:
        @property
        def __closure__(self) -> tuple[CellType, ...]:
            nonlocal looks
            looks += 1
            return tuple(map(CellType, many))

        async def __call__(self, message: Any) -> None:
            """Take a message."""

    many = [Counted() for _ in range(5)]

    assert added_headers(many[0]) == set()
    assert looks == len(many)


def test_a_limited_number_of_wrappers_is_looked_through() -> None:
    send: Send = Uvicorn(b"date").send
    for _ in range(WRAPPERS):
        send = wrapped(send)

    assert added_headers(send) == {b"date"}
    assert added_headers(wrapped(send)) == set()


def test_setting_wins() -> None:
    send = Uvicorn(b"date", b"server").send

    assert (added_headers(send, "send"), added_headers(lonely, "omit")) == (set(), BOTH)

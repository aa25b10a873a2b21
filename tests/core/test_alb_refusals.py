"""What the load balancer refuses before the function is asked."""

import pytest

from gateway.core.alb import (
    FORWARDED_ADDRESS_LIMIT,
    REQUEST_BODY_LIMIT,
    maybe_refusal,
)
from gateway.core.errors import (
    MethodNotAllowed,
    RequestTooLarge,
    TooManyForwardedAddresses,
    WebSocketNotSupported,
)
from gateway.core.http import Headers
from tests.core.alb_requests import asked

# What the listener refuses before the function is asked.


def test_ordinary_request_is_not_refused() -> None:
    assert maybe_refusal(asked([(b"Host", b"shop.example.org"), (b"Upgrade", b"h2c")])) is None


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_trace_and_connect_are_refused_and_other_spellings_are_not(method: str) -> None:
    refused = maybe_refusal(asked(method=method))

    assert isinstance(refused, MethodNotAllowed)
    assert str(refused) == f"{method} is not allowed by ALB"
    assert maybe_refusal(asked(method=method.lower())) is None


def test_request_body_of_1_mb_is_the_largest_that_passes() -> None:
    for size in (REQUEST_BODY_LIMIT - 1, REQUEST_BODY_LIMIT):
        assert maybe_refusal(asked(body=bytes(size))) is None

    too_large = maybe_refusal(asked(body=bytes(REQUEST_BODY_LIMIT + 1)))

    assert isinstance(too_large, RequestTooLarge)
    assert str(too_large) == "request body over 1048576 bytes"


@pytest.mark.parametrize("lines", [1, 2, 7, 29])
def test_thirty_forwarded_addresses_are_the_most_that_pass(lines: int) -> None:
    def spread(count: int) -> Headers:
        """Give every line one address but the last, which gets the rest."""
        rest = ", ".join(["192.0.2.1"] * (count - lines + 1)).encode()
        values = [b"2001:db8::1"] * (lines - 1) + [rest]
        return [(b"X-Forwarded-For", value) for value in values]

    for count in (FORWARDED_ADDRESS_LIMIT - 1, FORWARDED_ADDRESS_LIMIT):
        assert maybe_refusal(asked(spread(count))) is None

    too_many = maybe_refusal(asked(spread(FORWARDED_ADDRESS_LIMIT + 1)))

    assert isinstance(too_many, TooManyForwardedAddresses)
    assert str(too_many) == "X-Forwarded-For holds 31 addresses, 30 allowed"


def test_other_headers_of_that_length_hold_no_addresses() -> None:
    assert len(b"x-forwarded-bar") == len(b"x-forwarded-for")
    assert maybe_refusal(asked([(b"x-forwarded-bar", 40 * b"192.0.2.1,")])) is None


@pytest.mark.parametrize("upgrade", [b"websocket", b"WebSocket", b"h2c, websocket"])
@pytest.mark.parametrize("connection", [b"Upgrade", b"keep-alive, upgrade"])
def test_websocket_upgrade_is_refused(upgrade: bytes, connection: bytes) -> None:
    headers = [(b"UPGRADE", upgrade), (b"connection", connection)]

    refused = maybe_refusal(asked(headers))

    assert isinstance(refused, WebSocketNotSupported)
    assert str(refused) == "ALB cannot upgrade to WebSocket in front of Lambda"


@pytest.mark.parametrize("swapped", [False, True])
def test_addresses_are_counted_before_a_websocket_upgrade_is_seen(swapped: bool) -> None:
    headers = [(b"X-Forwarded-For", 30 * b"192.0.2.1,"), (b"Upgrade", b"websocket")]
    headers = headers[::-1] if swapped else headers

    refused = maybe_refusal(asked([*headers, (b"Connection", b"upgrade")]))

    assert isinstance(refused, TooManyForwardedAddresses)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Upgrade", b"websocket")],
        [(b"Upgrade", b"websocket"), (b"Connection", b"keep-alive")],
        [(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade")],
        [(b"X-Upgrd", b"websocket"), (b"Connection", b"Upgrade")],
    ],
)
def test_what_asks_for_no_websocket_is_served(headers: Headers) -> None:
    assert maybe_refusal(asked(headers)) is None

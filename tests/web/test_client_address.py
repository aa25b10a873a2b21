"""Addresses of clients."""

import asyncio
from typing import Any

import pytest

from gateway.web.client_address import address, is_unknown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("198.51.100.7", 40111), ("198.51.100.7", 40111)),
        (("2001:db8::1", 40111, 0, 0), ("2001:db8::1", 40111)),
        (("fe80::1%eth0", 40111, 0, 2), ("fe80::1", 40111)),
        (("::ffff:198.51.100.7", 40111, 0, 0), ("198.51.100.7", 40111)),
        (("::ffff:0:1", 40111, 0, 0), ("::ffff:0:1", 40111)),
        ("", ("127.0.0.1", 0)),
        ("/run/gateway.sock", ("127.0.0.1", 0)),
        (None, ("127.0.0.1", 0)),
    ],
)
def test_address_is_one_that_an_event_can_show(name: Any, expected: tuple[str, int]) -> None:
    assert address(name) == expected


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (("198.51.100.7", 1), ("192.0.2.1", 80), False),
        (None, ("192.0.2.1", 80), True),
        ("", "/run/gateway.sock", False),
        (None, "/run/gateway.sock", False),
    ],
)
def test_client_without_an_address_is_unknown_but_on_a_unix_socket(
    client: Any, server: Any, expected: bool
) -> None:
    transport = asyncio.BaseTransport({"peername": client, "sockname": server})

    assert is_unknown(transport) is expected

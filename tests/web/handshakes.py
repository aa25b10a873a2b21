"""What tests of whole handshakes share: a first message, limits and a request that closes."""

import ssl
from collections.abc import Callable

import pytest

from gateway.core.limits import Limits
from tests.web.https import (
    Https,
)
from tests.wire.authority import client_context

LIMITS = Limits()


CLOSE = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


Serve = Callable[..., Https]


def client_hello() -> bytes:
    """Return the first bytes of a client."""
    outgoing = ssl.MemoryBIO()
    client = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()

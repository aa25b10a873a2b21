"""Refused clients on an HTTPS port that still send: real sockets, on both event loops."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.limits import Limits
from gateway.web.lingering import Lingering
from gateway.wire.tls import Certificates
from tests.web.https import LOOPS, Https, certificates, read_all
from tests.web.peer import GET
from tests.web.transport import replies
from tests.wire.authority import client_context

pytestmark = [
    pytest.mark.slow,  # a real socket and a thread
    pytest.mark.parametrize("loop", LOOPS),
]

LIMITS = Limits()

Serve = Callable[..., Https]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("https"))


@pytest.fixture
def serve(served: Certificates, loop: str) -> Iterator[Serve]:
    """Make servers that end with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Https:
            return stack.enter_context(Https(loop, served, **options))

        yield start


REFUSED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_refused_client_hears_close_notify_and_may_go_on(
    serve: Serve, version: ssl.TLSVersion, size: int
) -> None:
    """The response, close_notify, FIN; nothing that the client sends then is an error."""
    https = serve(limits=replace(LIMITS, linger_silence_seconds=5.0))
    context = client_context()
    context.minimum_version = context.maximum_version = version

    with https.secure(context) as client:
        client.sendall(REFUSED + bytes(size))
        (reply,) = replies(read_until_close_notify(client))
        for _ in range(20):
            client.sendall(bytes(50_000))
        https.wait_until(lambda: lingering(https).progress.body_bytes > 1_000_000)
        raw = socket.socket(fileno=client.detach())
        with raw:
            rest = raw.recv(10)  # FIN, and not a reset

    assert reply.status == 413
    assert rest == b""
    https.wait_until(lambda: not https.front.members.connections)


def lingering(https: Https) -> Lingering:
    (found,) = https.front.members.connections
    assert isinstance(found, Lingering)
    return found


def read_until_close_notify(client: ssl.SSLSocket) -> bytes:
    """Read to close_notify; a FIN without one raises."""
    client.context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    found = bytearray()
    while data := client.recv(65_536):
        found += data
    return bytes(found)


def test_refused_client_that_does_not_end_is_cut_off(serve: Serve) -> None:
    https = serve(limits=replace(LIMITS, linger_silence_seconds=0.2))

    with https.secure() as client:
        client.sendall(REFUSED)
        (reply,) = replies(read_until_close_notify(client))
        https.wait_until(lambda: not https.front.members.connections)

    assert reply.status == 413


def test_refused_plain_client_that_stays_is_cut_off(serve: Serve) -> None:
    https = serve(limits=replace(LIMITS, linger_silence_seconds=0.2))

    with https.connect() as client:
        client.sendall(GET)
        assert read_all(client).startswith(b"HTTP/1.1 400")
        https.wait_until(lambda: not https.front.members.connections)

    assert https.failures == ["HTTP_REQUEST"]


def test_refused_plain_client_that_goes_on_is_cut_off(serve: Serve) -> None:
    https = serve(limits=replace(LIMITS, linger_bytes=1_000_000))

    with https.connect() as client, suppress(ConnectionError):
        while True:
            client.sendall(b"G" * 65_536)

    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == ["HTTP_REQUEST"]

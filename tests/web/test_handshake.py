"""TLS handshakes of real clients: counted from the first moment, limited, and silent when they
fail."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import trustme

from gateway.core.handshake_pace import FAILURE_BURST, FAILURES_PER_SECOND
from gateway.core.http import Tls
from gateway.web.h1_connection import Http1Connection
from gateway.web.handshake import FIRST_BYTES, LEFT, TIME_OUT, Handshake
from gateway.wire.tls import Certificates, MutualTls
from tests.web.handshakes import CLOSE, LIMITS, Serve, client_hello
from tests.web.https import (
    LOOPS,
    Https,
    certificates,
    offering,
    read_all,
)
from tests.web.peer import GET, LISTENER
from tests.web.transport import replies
from tests.wire.authority import AUTHORITY, client_context, issue

pytestmark = [
    pytest.mark.slow,  # a real socket and a thread
    pytest.mark.parametrize("loop", LOOPS),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("https"))


@pytest.fixture
def serve(served: Certificates, loop: str) -> Iterator[Serve]:
    """Make servers that end with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Https:
            options.setdefault("served", served)
            return stack.enter_context(Https(loop, **options))

        yield start


def test_request_over_tls_is_answered(serve: Serve) -> None:
    https = serve()

    with https.secure() as client:
        client.sendall(CLOSE)
        (reply,) = replies(read_all(client))

    assert (reply.status, reply.body) == (200, b"GET /a? 0")
    (request,) = https.telling.requests
    assert request.scheme == "https"
    assert request.tls == Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384", "localhost")
    assert https.failures == []


def test_client_without_alpn_and_one_with_http_1_get_http_1(serve: Serve) -> None:
    https = serve()
    for context in (client_context(), offering("http/1.1")):
        with https.secure(context) as client:
            client.sendall(CLOSE)
            assert replies(read_all(client))[0].status == 200


def test_alpn_chooses_the_protocol(serve: Serve) -> None:
    class Greeting(Http1Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._transport.write(b"two")
            self._transport.close()

    https = serve(make={"h2": lambda tls: Greeting(https.front, tls), "http/1.1": lambda _: None})

    with https.secure(offering("h2", "http/1.1")) as client:
        assert client.selected_alpn_protocol() == "h2"
        assert read_all(client) == b"two"


def test_connection_counts_before_its_handshake(serve: Serve) -> None:
    https = serve(limits=replace(LIMITS, connections=2))

    with https.connect(), https.connect():
        https.wait_until(lambda: len(https.front.members.connections) == 2)
        with https.connect() as third:
            assert read_all(third) == b""
        kinds = https.ask(lambda: {type(item) for item in https.front.members.connections})

        assert kinds == {Handshake}
    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == [LEFT, LEFT]


def test_connection_is_counted_once_after_its_handshake(serve: Serve) -> None:
    https = serve(limits=replace(LIMITS, connections=1, connections_per_address=1))

    with https.secure() as client:
        client.sendall(GET)
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        kinds = https.ask(lambda: [type(item) for item in https.front.members.connections])

        assert kinds == [Http1Connection]
        assert https.ask(lambda: dict(https.front.members.per_address)) == {"127.0.0.1": 1}
    https.wait_until(lambda: not https.front.members.connections)


@pytest.mark.parametrize("share", [0, 1, 40, -1])
def test_client_that_falls_silent_is_cut_off(serve: Serve, share: int) -> None:
    https = serve(limits=replace(LIMITS, handshake_seconds=0.2))
    hello = client_hello()

    with https.connect() as client:
        client.sendall(hello[: share if share >= 0 else len(hello) - 1])
        assert read_all(client) == b""

    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == [TIME_OUT]


def test_client_that_trickles_its_handshake_is_cut_off(serve: Serve) -> None:
    https = serve(limits=replace(LIMITS, handshake_seconds=0.2))

    hello = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + b"\0" * 16_380  # a record of 16 KB

    with https.connect() as client, suppress(ConnectionError):
        for byte in hello:
            client.send(bytes([byte]))
            https.ask(lambda: None)

    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == [TIME_OUT]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\x16\x03\x01\xff\xff" + b"\x01" * 70_000, "PACKET_LENGTH_TOO_LONG"),
        (b"\0" * 1_000, "WRONG_VERSION_NUMBER"),
    ],
)
def test_malformed_handshake_is_counted_and_closed(serve: Serve, sent: bytes, reason: str) -> None:
    https = serve()

    with https.connect() as client:
        with suppress(ConnectionError):
            client.sendall(sent)
        read_all(client)

    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == [reason]


def test_plain_http_gets_the_page_for_400(serve: Serve) -> None:
    https = serve()

    with https.connect() as client:
        client.sendall(GET)
        (reply,) = replies(read_all(client))

    assert (reply.status, reply.headers["Connection"]) == (400, "close")
    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == ["HTTP_REQUEST"]
    failed, notice = https.sink.notices
    assert (failed.client, failed.listener) == (notice.request.client, LISTENER)
    assert notice.elb_status == 400
    assert "https://" in notice.response.forwarding.detail


def test_client_that_does_not_trust_us_is_counted(serve: Serve) -> None:
    https = serve()
    with pytest.raises(ssl.SSLCertVerificationError), https.secure(ssl.create_default_context()):
        pass

    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == ["TLSV1_ALERT_UNKNOWN_CA"]


@pytest.mark.parametrize("issuer", ["none", "stranger"])
def test_client_without_a_trusted_certificate_is_counted(
    serve: Serve, tmp_path: Path, issuer: str
) -> None:
    store = tmp_path / "store.pem"
    AUTHORITY.cert_pem.write_to_path(str(store))
    https = serve(served=certificates(tmp_path, mutual=MutualTls(store)))
    context = offering("http/1.1")
    if issuer == "stranger":
        trustme.CA().issue_cert("x.test").configure_cert(context)

    with suppress(ssl.SSLError, ConnectionError), https.secure(context) as client:
        client.sendall(GET)
        assert read_all(client) == b""

    https.wait_until(lambda: not https.front.members.connections)
    missing, unknown = "PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED"
    assert https.failures == [missing if issuer == "none" else unknown]
    assert https.telling.requests == []


def failed(https: Https, count: int) -> None:
    """Have this many handshakes of this address failed just now."""
    for _ in range(count):
        https.handshakes.pace.failed("127.0.0.1", https.front.monotonic())


def test_handshakes_of_an_address_that_keeps_failing_begin_one_after_the_other(
    serve: Serve,
) -> None:
    https = serve()
    with https.secure() as before:
        failed(https, FAILURE_BURST + 3)
        began = perf_counter()
        for _ in range(2):
            with https.secure() as client:
                client.sendall(CLOSE)
                assert replies(read_all(client))[0].status == 200
        assert perf_counter() - began >= 2 / FAILURES_PER_SECOND
        before.sendall(CLOSE)
        assert replies(read_all(before))[0].status == 200


def test_handshake_that_would_wait_too_long_is_refused(serve: Serve) -> None:
    https = serve(limits=replace(LIMITS, handshake_seconds=1.0))
    failed(https, FAILURE_BURST + int(2 * FAILURES_PER_SECOND))

    with pytest.raises(OSError, match=r"(?i)eof|reset"), https.secure():
        pass

    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == ["TOO_MANY"]


def test_handshake_that_waits_for_its_turn_keeps_little_of_what_was_sent(serve: Serve) -> None:
    https = serve()
    failed(https, FAILURE_BURST + 2)
    with https.connect() as client:
        client.sendall(client_hello() + b"x" * 200_000)
        members = https.front.members.connections
        https.wait_until(lambda: any(one._is_waiting for one in members))
        (kept,) = https.ask(lambda: [len(one._first) for one in members])
        assert 0 < kept <= FIRST_BYTES


@pytest.mark.parametrize("size", [FIRST_BYTES, 3 * FIRST_BYTES])
def test_client_hello_of_more_than_is_read_first_is_served(serve: Serve, size: int) -> None:
    names = [b"%0200d" % number for number in range(size // 200)]
    context = offering(*(name.decode() for name in names), "http/1.1")
    https = serve()

    with https.secure(context) as client:
        client.sendall(CLOSE)
        assert replies(read_all(client))[0].status == 200


def test_waiting_handshake_that_is_aborted_never_begins(serve: Serve) -> None:
    https = serve()
    failed(https, FAILURE_BURST + 2)
    with https.connect() as client:
        client.sendall(client_hello())
        https.wait_until(lambda: any(one._is_waiting for one in https.front.members.connections))
        https.ask(https.front.abort)
        assert read_all(client) == b""
    with https.secure():  # its turn is after that one's
        assert https.failures == []


def test_client_certificate_is_told_with_every_request(serve: Serve, tmp_path: Path) -> None:
    store = tmp_path / "store.pem"
    AUTHORITY.cert_pem.write_to_path(str(store))
    https = serve(served=certificates(tmp_path, mutual=MutualTls(store)))
    context = offering("http/1.1")
    context.load_cert_chain(issue(tmp_path / "client.pem", "client.test").certificate)

    with https.secure(context) as client:
        client.sendall(GET + CLOSE)
        assert [reply.status for reply in replies(read_all(client))] == [200, 200]

    told = [request.tls for request in https.telling.requests]
    assert told[0] is told[1]
    assert len(told[0].client_certificate) == 5  # type: ignore[union-attr]


def test_reload_keeps_connections_and_gives_new_ones_the_new_certificate(
    serve: Serve, tmp_path: Path
) -> None:
    served = certificates(tmp_path)
    https = serve(served=served)
    with https.secure() as old:
        old.sendall(GET)
        assert old.recv(65_536).startswith(b"HTTP/1.1 200")
        certificates(tmp_path)  # writes another one
        assert https.ask(served.reload) == []
        with https.secure() as new:
            before, after = (item.getpeercert(binary_form=True) for item in (old, new))
            assert before != after
        old.sendall(CLOSE)
        assert replies(read_all(old))[0].status == 200

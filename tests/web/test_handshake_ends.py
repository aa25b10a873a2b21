"""Connections over TLS that stall, leave or are cut off, and clients that people have."""

import random
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.web import handshake
from gateway.web.handshake import LEFT
from gateway.wire.tls import Certificates, undecodable_names_unreported
from tests.web.handshakes import CLOSE, LIMITS, Serve, client_hello
from tests.web.https import (
    DEADLINE_SECONDS,
    LOOPS,
    Https,
    certificates,
    read_all,
)
from tests.web.peer import GET, Held, Telling
from tests.web.transport import replies
from tests.wire.authority import AUTHORITY, client_context

pytestmark = [
    pytest.mark.slow,  # a real socket and a thread
    pytest.mark.parametrize("loop", LOOPS),
]


RESET = struct.pack("ii", 1, 0)


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


@pytest.mark.parametrize("seed", range(4))
def test_damaged_handshakes_leave_nothing_and_say_nothing(serve: Serve, seed: int) -> None:
    https = serve(limits=replace(LIMITS, handshake_seconds=0.3))
    draw = random.Random(seed)
    clients = []
    with undecodable_names_unreported():
        for _ in range(50):
            damaged = bytearray(client_hello())
            for _ in range(draw.randint(1, 4)):
                damaged[draw.randrange(5, len(damaged))] = draw.randrange(256)
            clients.append(https.connect())
            clients[-1].sendall(damaged)
        for client in clients:
            read_all(client)
            client.close()
        https.wait_until(lambda: not https.front.members.connections)

    assert len(https.failures) == 50


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("share", [0, 40, 10_000])
def test_client_that_leaves_is_forgotten(serve: Serve, how: str, share: int) -> None:
    https = serve()

    with https.connect() as client:
        client.sendall(client_hello()[:share])
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    https.wait_until(lambda: https.failures)
    https.wait_until(lambda: not https.front.members.connections)
    assert https.failures == [LEFT]


def test_request_in_the_packet_that_ends_the_handshake_is_answered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "CLOSE_NOTIFY_SECONDS", 0.1)
    https = serve()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")

    with https.connect() as plain:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65_536))
        client.write(CLOSE)
        plain.sendall(outgoing.read())  # Finished and the request in one
        incoming.write(read_all(plain))
        (reply,) = replies(client.read(65_536))

    assert reply.body == b"GET /a? 0"


def test_many_clients_at_once(serve: Serve) -> None:
    https = serve()
    with ExitStack() as stack:
        clients = [stack.enter_context(https.secure()) for _ in range(50)]
        for client in clients:
            client.sendall(CLOSE)
        statuses = [replies(read_all(client))[0].status for client in clients]

    assert statuses == [200] * 50
    https.wait_until(lambda: not https.front.members.connections)


BIG = 8 * 1024 * 1024
"""More than the system holds for a client that takes nothing."""


def test_client_that_takes_nothing_of_its_response_is_cut_off(serve: Serve) -> None:
    https = serve(responder=Telling(BIG), limits=replace(LIMITS, stalled_write_seconds=0.3))

    with https.secure() as client:
        client.sendall(GET)
        https.wait_until(lambda: https.sink.notices)
        https.wait_until(lambda: not https.front.members.connections)

        assert len(read_all(client)) < BIG


def test_stalled_client_is_seen_and_goes_on_where_it_stopped(serve: Serve) -> None:
    https = serve(responder=Telling(BIG))

    with https.secure() as client:
        client.sendall(GET + CLOSE)
        https.wait_until(lambda: https.sink.notices)
        (connection,) = https.ask(lambda: list(https.front.members.connections))
        https.wait_until(lambda: connection.progress.stalled_at is not None)
        assert https.ask(connection._transport.get_write_buffer_size) > 0
        assert len(https.sink.notices) == 1  # the second has to wait
        answers = replies(read_all(client))

    assert [len(answer.body) for answer in answers] == [BIG, BIG]
    assert connection.progress.stalled_at is None


def test_close_notify_in_the_middle_of_a_request_is_not_worth_a_word(serve: Serve) -> None:
    held = Held()
    https = serve(responder=held)

    with https.secure() as client:
        client.sendall(GET)
        https.wait_until(lambda: held.requests)
        client.settimeout(0.0)
        with pytest.raises(ssl.SSLError):
            client.unwrap()  # sends close_notify, and does not wait for the other's
        (connection,) = https.ask(lambda: list(https.front.members.connections))
        https.wait_until(lambda: connection._has_left)
        https.ask(held.release)
        https.wait_until(lambda: not https.front.members.connections)

    assert [notice.elb_status for notice in https.sink.notices] == [460]


def test_garbage_after_the_handshake_ends_the_connection(serve: Serve) -> None:
    https = serve()

    with https.secure() as client:
        client.sendall(GET)
        client.recv(65_536)
        raw = socket.socket(fileno=client.detach())
    with raw:
        raw.settimeout(DEADLINE_SECONDS)
        raw.sendall(b"garbage" * 100)
        read_all(raw)
        https.wait_until(lambda: not https.front.members.connections)

    assert https.failures == []


@pytest.mark.parametrize("share", [0, 40])
def test_abort_ends_handshakes(serve: Serve, share: int) -> None:
    https = serve()
    with https.connect() as client:
        client.sendall(client_hello()[:share])
        https.wait_until(lambda: https.front.members.connections)
        (handshake,) = https.ask(lambda: list(https.front.members.connections))
        https.wait_until(lambda: handshake._task is not None or not share)
        https.ask(https.front.abort)

        assert read_all(client) == b""
        assert https.count == 0
        https.wait_until(lambda: handshake._task is None or handshake._task.done())
    assert https.failures == []


def test_hasty_drain_does_not_wait_for_handshakes(serve: Serve) -> None:
    https = serve()
    with https.connect() as client:
        https.wait_until(lambda: https.front.members.connections)
        https.run(https.front.close_idle())

        assert read_all(client) == b""


# Clients that people have


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path


def output_of(*command: str, said: bytes = b"") -> str:
    done = subprocess.run(
        command, input=said, capture_output=True, timeout=DEADLINE_SECONDS, check=False
    )
    return done.stdout.decode() + done.stderr.decode()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: make tools installs it")
@pytest.mark.parametrize("options", [(), ("--http1.1",), ("--tls-max", "1.2"), ("--http1.0",)])
def test_curl_is_answered(serve: Serve, authority: Path, options: tuple[str, ...]) -> None:
    https = serve(served=with_http_1_alone(authority.parent))
    url = f"https://localhost:{https.port}/a"

    assert output_of("curl", "-sS", *options, "--cacert", str(authority), url) == "GET /a? 0"


def with_http_1_alone(folder: Path) -> Certificates:
    return certificates(folder, alpn=("http/1.1",))


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing")
@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("-tls1_3", "-brief"), "Protocol version: TLSv1.3"),
        (("-tls1_2", "-brief"), "Ciphersuite: ECDHE-ECDSA-AES128-GCM-SHA256"),
        (("-tls1_1",), "Cipher is (NONE)"),
        (("-tls1_2", "-cipher", "AES128-SHA"), "Cipher is (NONE)"),
        (("-alpn", "http/1.1"), "ALPN protocol: http/1.1"),
        ((), "Verify return code: 0 (ok)"),
        ((), "Compression: NONE"),
    ],
)
def test_openssl_sees_what_the_policy_says(
    serve: Serve, authority: Path, options: tuple[str, ...], found: str
) -> None:
    https = serve()
    there = ("-connect", f"127.0.0.1:{https.port}", "-servername", "localhost")
    trust = ("-CAfile", str(authority), "-verify_hostname", "localhost")

    assert found in output_of("openssl", "s_client", *there, *trust, *options, said=b"Q\n")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing")
def test_renegotiation_is_refused(serve: Serve, authority: Path) -> None:
    https = serve()
    there = ("-connect", f"127.0.0.1:{https.port}", "-servername", "localhost", "-tls1_2")
    said = output_of("openssl", "s_client", *there, "-CAfile", str(authority), said=b"R\n")

    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said

"""What clients without a certificate cost a listener that demands one (alb.md 4.7)."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
import trustme

from gateway.core.handshake_pace import FAILURE_BURST
from tests.e2e.serving import Server, serving
from tests.process.whole import cpu_seconds
from tests.soaking import soak_only

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

AUTHORITIES = 145
"""As many as a system's own trust store has."""

ATTACK = """
import socket, ssl, sys, threading
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def attack():
    for number in range(10**9):
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
                with context.wrap_socket(plain) as tls:
                    tls.recv(1)
        except OSError:
            pass
        if number == 0:
            print(flush=True)
for _ in range(3):
    threading.Thread(target=attack).start()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a server's and a client's certificate, and two trust stores."""
    folder = tmp_path_factory.mktemp("mutual")
    authority = trustme.CA()
    for name in ("127.0.0.1", "client.test"):
        pem = authority.issue_cert(name).private_key_and_cert_chain_pem
        pem.write_to_path(str(folder / f"{name}.pem"))
    own = authority.cert_pem.bytes()
    more = (trustme.CA().cert_pem.bytes() for _ in range(AUTHORITIES - 1))
    (folder / "small.pem").write_bytes(own)
    (folder / "large.pem").write_bytes(b"".join([own, *more]))
    return folder


@contextmanager
def serving_clients_of(folder: Path, store: str) -> Iterator[Server]:
    options = ["--certificate", str(folder / "127.0.0.1.pem"), "--in-process", "--quiet"]
    mutual = ["--mutual-authentication", "verify", "--trust-store", str(folder / store)]
    with serving("echo.handler", *options, *mutual) as server:
        yield server


def refused_handshakes(server: Server, count: int) -> float:
    """Let this many clients without a certificate try; returns the server's CPU time in seconds."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before = cpu_seconds(server.pid)
    for _ in range(count):
        with (
            socket.create_connection(("127.0.0.1", server.port)) as plain,
            suppress(OSError),
            context.wrap_socket(plain) as tls,
        ):
            assert not tls.recv(1)
    return cpu_seconds(server.pid) - before


def test_refused_client_costs_no_more_with_a_large_trust_store(folder: Path) -> None:
    with (
        serving_clients_of(folder, "small.pem") as small,
        serving_clients_of(folder, "large.pem") as large,
    ):
        costs = {small: 0.0, large: 0.0}
        for _ in range(FAILURE_BURST // 10):
            for server in costs:
                costs[server] += refused_handshakes(server, 10)

    assert costs[large] <= 2 * costs[small] + 0.1


def latencies(connection: HTTPSConnection, count: int) -> list[float]:
    """Return how long this many requests took, in seconds."""
    found = []
    for _ in range(count):
        began = perf_counter()
        connection.request("GET", "/")
        assert connection.getresponse().read()
        found.append(perf_counter() - began)
    return found


@soak_only
def test_three_clients_without_certificates_at_most_double_a_request(folder: Path) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "client.test.pem")
    calm, beside = list[float](), list[float]()
    with serving_clients_of(folder, "large.pem") as server:
        honest = HTTPSConnection("127.0.0.1", server.port, context=context)
        with closing(honest):
            latencies(honest, 100)
            for _ in range(3):
                calm += latencies(honest, 300)
                command = [sys.executable, "-c", ATTACK, str(server.port)]
                with subprocess.Popen(command, stdout=subprocess.PIPE) as attack:
                    assert attack.stdout
                    attack.stdout.readline()  # the attack is under way
                    beside += latencies(honest, 300)
                    attack.kill()

    assert median(beside) <= 2 * median(calm), (median(calm), median(beside))

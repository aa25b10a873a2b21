"""P6: a reload loses nothing.

In a soak 500 requests a second over HTTPS, on 200 keep-alive and 20 HTTP/2 connections, while the
code, the certificate and the workers are replaced ten times. A request written into a connection
that the server closed in the same moment, before a byte of the response, is counted apart.
"""

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.serving import DEADLINE_SECONDS, ROOT, Server, serving
from tests.promises.conftest import Report
from tests.soaking import IS_SOAK

pytestmark = pytest.mark.slow

RELOADS = 10 if IS_SOAK else 1
RATE = 500 if IS_SOAK else 100
HTTP1, HTTP2 = (200, 20) if IS_SOAK else (20, 5)
CALM_REQUESTS = 1000 if IS_SOAK else 100
BETWEEN = HTTP1 + HTTP2 + 30
"""Requests from one reload to the next: more than there are connections."""

PATIENT = ("--queue-timeout", "10")
"""A new worker begins with one environment, and the others start when requests come."""

CONNECTS = 10_000
"""How often a new certificate is looked for: a worker that leaves accepts until it knows."""

CODE = """
def handler(event, context):
    return {{"statusCode": 200, "body": "{version}"}}
"""

FEW = () if IS_SOAK else ("--concurrency", "4")

Figures = dict[str, Any]


class Site:
    """The files of a site, and how to change them."""

    def __init__(self, directory: Path) -> None:
        self.code = directory / "code"
        self.certificate = directory / "certificate.pem"
        self._authority = trustme.CA()
        self.code.mkdir()
        self.renew()
        self.write("version 0")

    def write(self, version: str) -> None:
        """Replace the code as an editor does: at once."""
        self._replace(self.code / "app.py", CODE.format(version=version).encode())

    def renew(self) -> None:
        """Replace the certificate."""
        leaf = self._authority.issue_cert("localhost", "127.0.0.1")
        self._replace(self.certificate, leaf.private_key_and_cert_chain_pem.bytes())

    @staticmethod
    def _replace(path: Path, content: bytes) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(path)


def ended(client: subprocess.Popen[bytes]) -> Figures:
    """End the traffic and return what came of it."""
    said, _ = client.communicate(timeout=DEADLINE_SECONDS)
    assert client.returncode == 0
    figures: Figures = json.loads(said)
    return figures


@contextmanager
def client(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    """Send requests until the block ends, or `ended` says so."""
    connections = ("--http1", str(HTTP1), "--http2", str(HTTP2))
    command = [sys.executable, "benchmarks/traffic.py", server.url, str(RATE), *connections]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        yield process
        process.kill()


def answered(server: Server, count: int) -> None:
    """Wait for this many requests more."""
    server.output.wait_for("GET +/steady +", after=len(server.output()) + count)


def shows(server: Server, certificate: Path) -> bool:
    """Say whether a new connection gets this certificate."""
    own = certificate.read_text()
    address = ("127.0.0.1", server.port)
    return any(ssl.get_server_certificate(address).strip() in own for _ in range(CONNECTS))


def replacing(server: Server, pattern: str) -> None:
    """Have the server take in what has changed, and wait until it says that it has."""
    seen = len(server.output())
    server.signal(signal.SIGHUP)
    server.output.wait_for(pattern, after=seen)


@pytest.mark.parametrize(
    ("workers", "said"),
    [("1", "^reloaded app.handler$"), ("2", "^replaced 2 workers$")],
    ids=["in one process", "with workers"],
)
def test_nothing_is_lost_while_code_certificate_and_workers_are_replaced(
    tmp_path: Path, report: Report, workers: str, said: str
) -> None:
    site = Site(tmp_path)
    options = ("--certificate", str(site.certificate), "--workers", workers, *PATIENT, *FEW)
    with serving("app.handler", *options, code=site.code) as server:
        with client(server) as calm:
            answered(server, CALM_REQUESTS)
            before = ended(calm)
        with client(server) as busy:
            for number in range(1, RELOADS + 1):
                answered(server, BETWEEN)
                site.write(f"version {number}")
                site.renew()
                replacing(server, said)
                assert shows(server, site.certificate)
            answered(server, BETWEEN)
            during = ended(busy)

    report(f"P6 {workers} worker(s), {RELOADS} reloads: {during}; calm p99 {before['p99_ms']} ms")
    assert during["errors"] == before["errors"] == {}
    assert set(during["answered"]) == {f"version {number}" for number in range(RELOADS + 1)}

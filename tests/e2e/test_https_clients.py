"""The clients that people have, over HTTPS: each gets the right answer over the version it
speaks."""

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.serving import DEADLINE_SECONDS, Server, serving
from tests.soaking import IS_SOAK

pytestmark = pytest.mark.slow

EVENT_PATH = "/a%20path?x=1&x=2"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def server(state: Path) -> Iterator[Server]:
    own = {"XDG_STATE_HOME": str(state)}
    with serving("echo.handler", "--in-process", "--https", env=own) as server:
        yield server


@pytest.fixture(scope="module")
def authority(state: Path, server: Server) -> str:
    """Return the file of the CA that the gateway made, as the line to try names it."""
    found = server.output.wait_for(r"^try: curl -i --cacert (?P<path>\S+) ")["path"]
    assert Path(found).is_relative_to(state)
    return found


def run(*command: str, stdin: str = "") -> str:
    """Return what a client wrote; it is skipped where it is missing."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is missing: make tools installs it")
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("option", "version"), [("--http1.0", "1.1"), ("--http1.1", "1.1"), ("--http2", "2")]
)
def test_curl_trusts_the_authority_and_speaks_every_version(
    server: Server, authority: str, option: str, version: str
) -> None:
    url = f"https://localhost:{server.port}{EVENT_PATH}"
    shown = ("--write-out", "\n%{http_version}")
    said = run("curl", "--disable", "--silent", "--cacert", authority, option, *shown, url)

    body, _, spoken = said.rpartition("\n")
    event = json.loads(body)
    assert spoken == version  # ALB answers HTTP/1.0 with HTTP/1.1 (alb.md 2.3)
    assert event["headers"]["x-forwarded-proto"] == "https"
    assert event["headers"]["host"] == f"localhost:{server.port}"
    assert event["path"] == "/a%20path"


def test_curl_without_the_authority_does_not_trust_it(server: Server) -> None:
    curl = shutil.which("curl") or pytest.skip("curl is missing: make tools installs it")
    command = [curl, "--disable", "--silent", f"https://localhost:{server.port}/"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_SECONDS)

    assert done.returncode == 60  # curl(1): the peer's certificate cannot be authenticated


def test_httpx_over_http_2(server: Server, authority: str) -> None:
    context = ssl.create_default_context(cafile=authority)
    with httpx.Client(http2=True, verify=context, trust_env=False) as client:
        answers = [client.post(f"https://127.0.0.1:{server.port}/{n}", json=n) for n in range(3)]

    assert {answer.http_version for answer in answers} == {"HTTP/2"}
    assert [answer.json()["body"] for answer in answers] == ["0", "1", "2"]


def test_nghttp(server: Server) -> None:
    said = run("nghttp", f"https://127.0.0.1:{server.port}{EVENT_PATH}")

    assert json.loads(said)["path"] == "/a%20path"


def test_openssl_s_client(server: Server, authority: str) -> None:
    address = f"127.0.0.1:{server.port}"
    verified = ("-CAfile", authority, "-verify_return_error", "-verify_hostname", "localhost")
    request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    said = run("openssl", "s_client", "-quiet", "-connect", address, *verified, stdin=request)

    assert said.startswith("HTTP/1.1 200 OK\n")


MANY = 20_000 if IS_SOAK else 5000


@pytest.mark.parametrize(("connections", "streams", "requests"), [(6, 16, MANY), (1, 16, 3000)])
def test_h2load_has_no_request_fail(
    server: Server, connections: int, streams: int, requests: int
) -> None:
    counts = ("-n", str(requests), "-c", str(connections), "-m", str(streams))
    said = run("h2load", *counts, f"https://127.0.0.1:{server.port}/")

    assert f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" in said

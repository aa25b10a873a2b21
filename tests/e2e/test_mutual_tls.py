"""Mutual TLS end to end: without a good certificate there is no connection; a good one is named in
the event (alb.md 4.7)."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.serving import DEADLINE_SECONDS, Server, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing: make tools installs it"),
]

TOLD = "x-amzn-mtls-clientcert-"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Path:
    folder = tmp_path_factory.mktemp("mutual")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    site = authority.issue_cert("127.0.0.1")
    site.private_key_and_cert_chain_pem.write_to_path(str(folder / "site.pem"))
    return folder


@pytest.fixture(scope="module", params=["single", "multi"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    options = ["--in-process", "--certificate", str(folder / "site.pem")]
    options += ["--mutual-authentication", "verify", "--trust-store", str(folder / "ca.pem")]
    if request.param == "multi":
        options.append("--multi-value-headers")
    with serving("echo.handler", *options) as server:
        yield server


def certificate(folder: Path, authority: trustme.CA, name: str, **options: Any) -> Path:
    path = folder / f"{name}.pem"
    made = authority.issue_cert(common_name=name, **options)
    made.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def curl(server: Server, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [
        "curl",
        "--disable",
        "--noproxy",
        "*",
        "--silent",
        "--insecure",
        *options,
        server.url,
    ]
    return subprocess.run(command, capture_output=True, check=False, timeout=DEADLINE_SECONDS)


def headers(body: bytes) -> dict[str, str]:
    event = json.loads(body)
    if "headers" in event:
        return event["headers"]
    assert all(len(values) == 1 for values in event["multiValueHeaders"].values())
    return {name: values[0] for name, values in event["multiValueHeaders"].items()}


def test_verified_client_is_named_in_the_event_and_cannot_name_itself(
    server: Server, folder: Path, authority: trustme.CA
) -> None:
    own = certificate(folder, authority, "alice")
    forged = ("-H", "X-Amzn-Mtls-Clientcert-Subject: CN=mallory", "-H", f"{TOLD}x: y")
    done = curl(server, "--cert", str(own), *forged)

    told = {name: value for name, value in headers(done.stdout).items() if name.startswith(TOLD)}
    assert {name.removeprefix(TOLD) for name in told} == {
        *("serial-number", "issuer", "subject", "validity", "leaf")
    }
    assert "CN=alice" in told[f"{TOLD}subject"]
    assert told[f"{TOLD}leaf"].startswith("-----BEGIN%20CERTIFICATE-----%0A")


@pytest.mark.parametrize("presented", ["nothing", "a stranger's", "an expired one"])
def test_others_get_no_connection(
    server: Server, folder: Path, authority: trustme.CA, presented: str
) -> None:
    shown: tuple[str, ...] = ()
    if presented == "a stranger's":
        shown = ("--cert", str(certificate(folder, trustme.CA(), "mallory")))
    elif presented != "nothing":
        past = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251 - a real certificate
        shown = ("--cert", str(certificate(folder, authority, "late", not_after=past)))
    done = curl(server, *shown)

    # With TLS 1.3 a client has sent its request before it hears the refusal.
    assert (done.returncode != 0, done.stdout) == (True, b"")


def test_expiry_can_be_ignored(folder: Path, authority: trustme.CA) -> None:
    past = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251 - a real certificate
    late = certificate(folder, authority, "expired", not_after=past)
    options = ["--in-process", "--certificate", str(folder / "site.pem")]
    options += ["--mutual-authentication", "verify", "--trust-store", str(folder / "ca.pem")]
    options.append("--ignore-client-certificate-expiry")
    with serving("echo.handler", *options) as server:
        done = curl(server, "--cert", str(late))

    assert "CN=expired" in headers(done.stdout)[f"{TOLD}subject"]

"""A browser opens what `gateway serve app.handler --https` serves, over HTTP/2."""

import base64
import hashlib
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.serving import DEADLINE_SECONDS, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("chromium"), reason="chromium is missing: make tools installs it"
    ),
]

OFFLINE = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--no-proxy-server"),
)


def key_hash(port: int) -> str:
    """Return the hash of the listener's public key, by which the browser can be told to trust
    it."""
    shown = x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode())
    key = shown.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def test_a_browser_opens_the_page_over_http_2(tmp_path: Path) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with serving("page.handler", "--in-process", "--https", env=state) as server:
        trusted = f"--ignore-certificate-errors-spki-list={key_hash(server.port)}"
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        url = f"https://localhost:{server.port}/a/page"
        done = subprocess.run(
            ["chromium", *OFFLINE, trusted, profile, "--dump-dom", url],
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * DEADLINE_SECONDS,
        )

    assert done.returncode == 0, done.stderr
    assert "came over h2" in done.stdout, done.stdout + done.stderr

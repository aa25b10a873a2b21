"""Clients that wait for 100 Continue before they send."""

import subprocess
from pathlib import Path

import pytest

from tests.compiled import JAVA, java_classes
from tests.e2e.serving import APPS, serving

CLIENTS = Path(__file__).parent / "clients"

REQUESTS = {
    "GET -1": 200,
    "DELETE -1": 200,
    "POST 0": 200,
    "POST -1": 200,
    "POST 1": 200,
    "PUT 500000": 200,
    "POST 1048577": 413,
    "POST 3000000": 413,
}


@pytest.mark.slow
def test_java_gets_every_100_that_it_waits_for() -> None:
    """Without the 100 its HttpClient ends with HttpTimeoutException, and with nothing where no
    time-out is set."""
    words = " ".join(REQUESTS).split()
    classes = java_classes((CLIENTS / "Expect.java").read_text(), "Expect")
    with serving("echo.handler", "--in-process", code=APPS) as server:
        client = subprocess.run(
            [*JAVA, "-cp", classes, "Expect", server.url, *words],
            capture_output=True,
            text=True,
            timeout=200,
            check=True,
        )

    assert client.stdout.splitlines() == [f"{name} {status}" for name, status in REQUESTS.items()]

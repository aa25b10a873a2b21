"""Clients that people use lose nothing, however many requests they send on a connection.

Java 17 and httpx give up every stream that is open when they read a GOAWAY, with every server; so
none comes while they work.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compiled import JAVA, go_program, java_classes, needed
from tests.e2e.serving import Server, serving
from tests.process.test_refusals import CLIENTS
from tests.soaking import IS_SOAK, soak_only

COUNT = 20_000 if IS_SOAK else 4_500
AT_ONCE = pytest.mark.parametrize("at_once", [pytest.param(1, marks=soak_only), 16, 100])
WITHIN_SECONDS = 120.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = {"XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    options = ("--in-process", "--https", "--quiet")
    with serving("echo.handler", *options, env=own) as server:
        yield server


def lost(*command: str | Path, count: int = COUNT) -> int:
    """Return how many requests of a client have failed."""
    done = subprocess.run(
        list(command), stdout=subprocess.PIPE, timeout=WITHIN_SECONDS, check=True, text=True
    )
    answered, failed = map(int, done.stdout.split())
    assert answered + failed == count
    return failed


@AT_ONCE
def test_node_loses_nothing(server: Server, at_once: int) -> None:
    node = needed("node")

    assert lost(node, CLIENTS / "many.mjs", server.url, str(COUNT), str(at_once)) == 0


@AT_ONCE
@pytest.mark.parametrize("method", [pytest.param("GET", marks=soak_only), "POST"])
def test_go_loses_nothing(server: Server, at_once: int, method: str) -> None:
    """A POST's body cannot be sent again by the library: a lost request is seen."""
    go = go_program((CLIENTS / "many.go").read_text(), "many")

    assert lost(go, server.url, str(COUNT), str(at_once), method) == 0


@soak_only
@AT_ONCE
def test_java_loses_nothing(server: Server, at_once: int) -> None:
    classes = java_classes((CLIENTS / "Many.java").read_text(), "Many")
    command = (*JAVA, "-cp", classes, "Many", server.url, str(COUNT), str(at_once))

    assert lost(*command) == 0


@soak_only
@AT_ONCE
def test_httpx_loses_nothing(server: Server, at_once: int) -> None:
    count = min(COUNT, 8000)  # each takes a millisecond or two
    command = (sys.executable, CLIENTS / "many.py", server.url, str(count), str(at_once))

    assert lost(*command, count=count) == 0

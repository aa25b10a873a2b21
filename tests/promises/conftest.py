"""Promises of the specification, each measured: the run prints at its end what a test finds."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.serving import DEADLINE_SECONDS, Server, serving
from tests.promises.h2_wire import listening, tool

Report = Callable[[str], None]
Serve = Callable[..., Server]

FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("promises")
    for line in figures:
        terminalreporter.write_line(line)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Return a way to say what was measured."""
    figures = request.config.stash.setdefault(FIGURES, [])

    def add(text: str) -> None:
        print(text)
        figures.append(text)

    return add


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a way to servers that end with the test; what a listener promises does not depend on
    where handlers run."""
    with ExitStack() as stack:

        def start(handler: str, *options: str, **settings: object) -> Server:
            return stack.enter_context(serving(handler, "--in-process", *options, **settings))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="module")
def shared() -> Iterator[Serve]:
    """Return a way to servers that the tests of a module share, by handler and options."""
    running: dict[tuple[str, ...], Server] = {}
    with ExitStack() as stack:

        def start(handler: str, *options: str) -> Server:
            key = (handler, *options)
            if key not in running:
                running[key] = stack.enter_context(serving(handler, "--in-process", *options))
            return running[key]

        yield start


@pytest.fixture(scope="module")
def h2_server() -> Iterator[Server]:
    """Give a listener without TLS."""
    with listening() as process:
        yield process


@pytest.fixture(scope="module")
def h2_tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a listener with TLS, for a client that does not look at the certificate."""
    tmp_path = tmp_path_factory.mktemp("tls")
    made = tmp_path / "made.pem"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(made), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run(
        [tool("openssl"), "req", "-x509", "-days", "1", "-subj", "/CN=a", *new_key, *files],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    made.write_text(made.read_text() + (tmp_path / "certificate.pem").read_text())
    with listening(str(made)) as process:
        yield process

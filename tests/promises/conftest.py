"""Promises of the specification, each measured: what a test finds stands at the end of the run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.serving import Server, serving

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

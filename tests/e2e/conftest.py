"""Servers for the end-to-end tests: one per module and set of options, and per front."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.serving import FRONTS, HTTPS, IN_PROCESS, PLAIN, Gate, Server, serving
from tests.soaking import in_soak, soak_only

Serve = Callable[..., Server]


def named(front: list[str]) -> str:
    """Return the name of a front in the names of tests."""
    return " ".join(front) or "default"


def on(*fronts: object) -> pytest.MarkDecorator:
    """Run a test on some fronts only: each test runs on those between which it can differ."""
    return pytest.mark.parametrize("front", fronts, ids=named, indirect=True, scope="session")


# The portable front with a process of ours runs no line that the listener's own with environments
# runs, so that these two differ most.
ON_TWO = on([], IN_PROCESS[1])
BOTH_WAYS = on([], IN_PROCESS[0])
IN_THIS_PROCESS = on(IN_PROCESS[0], *in_soak(IN_PROCESS[1]))
WITHOUT_TLS = on(*PLAIN)
WITH_AND_WITHOUT_TLS = on([], IN_PROCESS[1], HTTPS[0])
ON_THREE = on([], IN_PROCESS[1], HTTPS[0], *in_soak(IN_PROCESS[0], HTTPS[1]))
ON_TWO_BRIEFLY = on([], IN_PROCESS[1], *in_soak(IN_PROCESS[0], *HTTPS))
ON_ANOTHER = on(HTTPS[0], *in_soak(IN_PROCESS[0], HTTPS[1]))


# The listener's own with a process of ours is seen with TLS, and without TLS with environments.
BRIEF_FRONTS = [
    pytest.param(front, marks=soak_only) if front == IN_PROCESS[0] else front for front in FRONTS
]


@pytest.fixture(scope="session", params=BRIEF_FRONTS, ids=named)
def front(request: pytest.FixtureRequest) -> list[str]:
    """Return the arguments of one front."""
    arguments: list[str] = request.param
    return arguments


@pytest.fixture(scope="module")
def shared(front: list[str]) -> Iterator[Serve]:
    """Return a way to a server that the tests of a module share, by handler and options."""
    running: dict[tuple[str, ...], Server] = {}
    with ExitStack() as stack:

        def serve(handler: str, *options: str) -> Server:
            key = (handler, *options)
            if key not in running:
                running[key] = stack.enter_context(serving(handler, *options, *front))
            return running[key]

        yield serve


@pytest.fixture
def serve(front: list[str]) -> Iterator[Serve]:
    """Return a way to a server of the test's own."""
    with ExitStack() as stack:

        def start(handler: str, *options: str, **settings: object) -> Server:
            return stack.enter_context(serving(handler, *options, *front, **settings))  # type: ignore[arg-type]

        yield start


@pytest.fixture(params=IN_PROCESS, ids=" ".join)
def serve_in_process(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Return a way to a server of the test's own that runs handlers itself."""
    with ExitStack() as stack:

        def start(handler: str, *options: str, **settings: object) -> Server:
            given = (*options, *request.param)
            return stack.enter_context(serving(handler, *given, **settings))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return a gate that is open when the test is over."""
    gate = Gate()
    yield gate
    gate.close()

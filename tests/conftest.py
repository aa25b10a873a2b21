"""What every test may use: the golden comparison, asyncio for async tests, hypothesis profiles."""

import os
import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.golden import Case, compressed
from tests.soaking import IS_SOAK

# An environment that is active where the tests are run is not the one that they serve with.
os.environ.pop("VIRTUAL_ENV", None)

# Some two thousand processes start here; one that may not keep its bytecode takes twice as long.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

Golden = Callable[[Case, str], None]

EXAMPLES = 200 if IS_SOAK else 25
"""Of each property; the first are those of the short form."""

# The suite draws the same examples every time: red or green never depends on luck. To look
# for more, run pytest with `--hypothesis-profile explore`.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=EXAMPLES)
settings.register_profile("explore", deadline=None, max_examples=10_000)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes that tests start run without coverage: a traced start takes 0.3 s more."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            del os.environ[name]


def pytest_xdist_auto_num_workers() -> int:
    """Run two tests at once for each core: most wait for a process that they have started."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow files where several run at once, so that none is the last one alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-update",
        action="store_true",
        help="rewrite the expected parts of golden files that differ, for review",
    )


@pytest.fixture
def check_golden(request: pytest.FixtureRequest) -> Golden:
    """Compare with the expected part of a case; with --golden-update rewrite it instead."""
    is_updating = request.config.getoption("--golden-update")

    def check(case: Case, actual: str) -> None:
        shown = compressed(actual)
        if not is_updating:
            assert shown == case.expected
        elif shown != case.expected:
            case.rewrite(shown)

    return check


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio alone: the gateway has no other loop."""
    return "asyncio"

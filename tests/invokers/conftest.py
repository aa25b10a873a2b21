"""Both event loops, the gate, and a process that stays as it was."""

from collections.abc import Iterator

import pytest

from tests.invokers.gate import Gate


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run on both loops: they order timers and callbacks of other threads differently."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(autouse=True)
def trace_id_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the process its own variable back."""
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "before")


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open at the end, whatever became of the test."""
    gate = Gate()
    yield gate
    gate.open()

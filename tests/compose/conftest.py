"""What the tests of compose share."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.function import Function
from tests.compose.shop import MODULE, NAME


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the process back its variables, time zone, log handlers, path and modules."""
    variables, path, handlers = dict(os.environ), sys.path[:], logging.getLogger().handlers[:]
    yield
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    sys.path[:] = path
    sys.modules.pop(NAME, None)
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def shop(tmp_path: Path) -> Function:
    """A function called shop, of a code directory with handlers of every kind."""
    (tmp_path / f"{NAME}.py").write_text(MODULE)
    return Function(
        f"{NAME}.handler",
        tmp_path,
        name="shop",
        region="eu-west-1",
        account_id="111122223333",
        memory_mb=256,
        environment={"STAGE": "test"},
    )

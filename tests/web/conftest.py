"""Worlds that end with the test that made them."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.web.peer import Serve, World


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Make worlds; when the test is over, nothing of them may be left."""
    with ExitStack() as worlds:

        def made(*arguments: Any, **options: Any) -> World:
            return worlds.enter_context(World(*arguments, **options))

        yield made

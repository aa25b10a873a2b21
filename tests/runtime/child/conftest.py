"""Code for rooms."""

from pathlib import Path

import pytest

from tests.runtime.child.entering import tree


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Return a directory with code."""
    return tree(tmp_path / "task", {"app.py": "the code", "lib/more.py": "more"})

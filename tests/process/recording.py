"""A pipe through which handlers in environments tell the test what they do."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.serving import SHARED, Lines


@contextmanager
def recording() -> Iterator[tuple[Path, Lines]]:
    """Give a pipe that environments can write to, and its lines."""
    place = Path(tempfile.mkdtemp(prefix="record-", dir=SHARED))
    pipe = place / "record"
    os.mkfifo(pipe)
    keeper = os.open(pipe, os.O_RDWR)
    lines = Lines(pipe.open("rb"))
    try:
        yield pipe, lines
    finally:
        os.close(keeper)
        lines.close()
        shutil.rmtree(place)

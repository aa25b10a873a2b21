"""Programs of tests in Go and Java: compiled once, and kept in build/ by their source."""

import os
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.e2e.serving import ROOT

PLACE = ROOT / "build" / "tests"
BUILD_SECONDS = 300
"""A first build compiles Go's library, too."""

PATH = os.environ.get("PATH", "") + ":/usr/local/go/bin"
"""Go's own archive has a place of its own."""

JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
"""Programs that end soon are quickest so."""


def needed(name: str) -> str:
    """Return where a command is; skips the test where it is missing."""
    return shutil.which(name, path=PATH) or pytest.skip(
        f"{name} is missing: make tools installs it"
    )


def go_program(text: str, name: str) -> Path:
    """Return a program, compiled from the text of its one file, that needs no C library."""

    def build(directory: Path) -> list[str]:
        (directory / f"{name}.go").write_text(text)
        return [needed("go"), "build", "-o", name, f"{name}.go"]

    return _compiled(text, build) / name


def java_classes(text: str, name: str) -> Path:
    """Return the directory with the classes of the text of a file."""

    def build(directory: Path) -> list[str]:
        (directory / f"{name}.java").write_text(text)
        return [needed("javac"), "-d", ".", f"{name}.java"]

    return _compiled(text, build)


def _compiled(text: str, build: Callable[[Path], list[str]]) -> Path:
    """Return the directory of what was made of a text, by this run of the tests or one before."""
    place = PLACE / sha256(text.encode()).hexdigest()[:16]
    if not place.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        directory = Path(mkdtemp(dir=PLACE))
        directory.chmod(0o755)
        environ = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
        command = build(directory)
        subprocess.run(command, cwd=directory, check=True, env=environ, timeout=BUILD_SECONDS)
        try:
            directory.rename(place)
        except OSError:  # another process was quicker
            shutil.rmtree(directory)
    return place

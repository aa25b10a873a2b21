"""The README's first lines do what they say, in a fresh clone and a fresh virtual environment."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.serving import ROOT, Server, environment, get
from tests.soaking import soak_only

FIRST_SCREEN = (ROOT / "README.md").read_text().partition("## How it works")[0]
MAKE_VENV, INSTALL, SERVE, _CURL = re.findall(r"^\$ (.*)$", FIRST_SCREEN, re.MULTILINE)
SERVED = (200, b"GET /any/path {'x': '2'}\n")
HANDLER = FIRST_SCREEN.partition("# app.py\n")[2].partition("```")[0]

OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip negates it: 0 means without isolation
    "PIP_QUIET": "1",
}
"""A test has no network: what pip would fetch is lent by this environment."""


def bash(command: str, directory: Path) -> None:
    variables = environment({**OFFLINE, "PYTHONPATH": ""})
    subprocess.run(["bash", "-euc", command], cwd=directory, env=variables, check=True)


def served(directory: Path, prepare: str, env: dict[str, str]) -> tuple[int, bytes]:
    """Return what the README's command serves, in a directory with its handler."""
    (directory / "app.py").write_text(HANDLER)
    command = ["bash", "-c", f"{prepare} exec {SERVE} --port 0"]
    with Server(command, cwd=directory, env=env) as server:
        answer = get(server.wait_until_listening(), "/any/path?x=1&x=2")
        assert server.stop() == 0
    assert server.errors() == []
    return answer


@pytest.mark.slow
def test_command_of_the_readme_serves_its_handler(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    assert served(tmp_path, "", {"PATH": path}) == SERVED


@pytest.mark.slow
@soak_only  # make itself installs into a fresh virtual environment
@pytest.mark.skipif(not shutil.which("git"), reason="needs git for a clone")
def test_first_lines_of_the_readme_serve_its_handler(tmp_path: Path) -> None:
    bash(f"git clone --quiet {ROOT} clone", tmp_path)
    clone = tmp_path / "clone"
    bash(MAKE_VENV, clone)
    lent = f"import sys; sys.path.insert(0, {sysconfig.get_path('purelib')!r})"
    (next(clone.glob(".venv/lib/python3*/site-packages")) / "lent.pth").write_text(lent)

    bash(f". .venv/bin/activate && {INSTALL}", clone)
    assert served(clone, ". .venv/bin/activate &&", {"PYTHONPATH": ""}) == SERVED

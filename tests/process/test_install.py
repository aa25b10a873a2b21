"""The README's first lines do what they say, in a fresh clone and a fresh virtual environment."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.serving import ROOT, Server, environment, get

FIRST_SCREEN = (ROOT / "README.md").read_text().partition("## How it works")[0]
COMMANDS = re.findall(r"^\$ (.*)$", FIRST_SCREEN, re.MULTILINE)
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


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git"), reason="needs git for a clone")
def test_first_lines_of_the_readme_serve_its_handler(tmp_path: Path) -> None:
    make_venv, install, serve, _curl = COMMANDS
    bash(f"git clone --quiet {ROOT} clone", tmp_path)
    clone = tmp_path / "clone"
    (clone / "app.py").write_text(HANDLER)
    bash(make_venv, clone)
    lent = f"import sys; sys.path.insert(0, {sysconfig.get_path('purelib')!r})"
    (next(clone.glob(".venv/lib/python3*/site-packages")) / "lent.pth").write_text(lent)

    bash(f". .venv/bin/activate && {install}", clone)
    command = ["bash", "-c", f". .venv/bin/activate && exec {serve} --port 0"]
    with Server(command, cwd=clone, env={"PYTHONPATH": ""}) as server:
        status, body = get(server.wait_until_listening(), "/any/path?x=1&x=2")
        stopped = server.stop()

    assert (status, body) == (200, b"GET /any/path {'x': '2'}\n")
    assert (stopped, server.errors()) == (0, [])

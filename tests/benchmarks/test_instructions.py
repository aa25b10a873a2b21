"""`make instructions` counts with valgrind, compares, and says so when it cannot."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "benchmarks" / "instructions.py"
DEADLINE_SECONDS = 240

pytestmark = pytest.mark.slow


def run(*arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *arguments]
    variables = {"PATH": path}
    return subprocess.run(
        command,
        check=False,
        env=variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )


needs_valgrind = pytest.mark.skipif(
    shutil.which("vgdb") is None, reason="needs valgrind: tools/install-system"
)


@needs_valgrind
def test_codec_is_counted_and_a_ratio_over_the_limit_is_the_exit_status() -> None:
    tiny = run("--only", "codec", "--rounds", "1", "--count", "3", "--limit", "0.1", "--json")

    assert tiny.returncode == 1, tiny.stderr
    rows = json.loads(tiny.stdout)
    assert [row["name"] for row in rows] == ["codec, small", "codec, browser", "codec, body"]
    for row in rows:
        assert row["is_over"]
        assert row["now"] > 10_000  # one encode and decode alone are tens of thousands


def worktrees() -> str:
    command = ["git", "-C", str(ROOT), "worktree", "list"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@needs_valgrind
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a git repository")
def test_another_revision_is_measured_in_a_worktree_that_ends() -> None:
    before = worktrees()

    compared = run("--only", "memory", "--rounds", "1", "--against", "HEAD", "--json")

    rows = json.loads(compared.stdout)
    assert [row["name"] for row in rows] == ["memory, resident KB", "memory, anonymous KB"]
    assert all(0.8 < row["ratio"] < 1.2 for row in rows), compared.stderr
    assert worktrees() == before


def test_without_valgrind_the_tool_says_what_is_missing(tmp_path: Path) -> None:
    refused = run("--only", "codec", path=str(tmp_path))

    assert refused.returncode == 2
    assert "valgrind is not installed" in refused.stdout

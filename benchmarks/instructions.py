"""`make instructions`: instructions per event, request and start, and memory, beside a baseline.

    python benchmarks/instructions.py [--against PATH_OR_REVISION] [--only NAME ...] [--json]

Without --against the baseline is results/instructions.json. Exit status: 0 all figures are within
the limit, 1 one is over it, 2 nothing could be counted.
"""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import callgrind
import machine
from comparison import NOISE, Figures, compared, described, is_within, table
from workloads import WORKLOADS, Amount

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benchmarks" / "results" / "instructions.json"
LIMIT = 1.02
ROUNDS, COUNT = 5, 200
SAME = ("python", "packages")
"""What must be as it was for figures to be comparable."""


def main() -> int:
    """Measure, compare, print; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parsed()
    if not callgrind.is_installed():
        print("valgrind is not installed, nothing is counted: tools/install-system installs it.")
        return 2
    if options.save:
        return save(options)
    now = measured(options, options.of)
    rows = compared(now, before(options), options.limit)
    print(json.dumps(described(rows), indent=2) if options.json else table(rows))
    return 0 if is_within(rows) else 1


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Count instructions, beside a baseline.")
    place = {"metavar": "PATH_OR_REVISION"}
    parser.add_argument("--of", default=str(ROOT), help="measure this (default: here)", **place)
    parser.add_argument("--against", help="measure this too and compare with it", **place)
    ratio = f"ratio (default {LIMIT}); start and memory {NOISE} at most"
    parser.add_argument("--limit", type=float, default=LIMIT, help=ratio)
    parser.add_argument("--only", choices=WORKLOADS, nargs="+", default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    parser.add_argument("--count", type=int, default=COUNT, help=f"a round (default {COUNT})")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--save", action="store_true", help=f"write {BASELINE.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.rounds < 1 or options.count < 1:
        parser.error("at least one round of one")
    return options


def measured(options: argparse.Namespace, place: str) -> Figures:
    """Return the figures of a checkout or a revision."""
    amount, figures = Amount(options.rounds, options.count), Figures()
    with checkout(place) as path:
        check_package(path)
        compile_package(path)
        for name in options.only:
            print(f"{name} of {place} ...", file=sys.stderr)
            figures |= WORKLOADS[name](path, amount)
    return figures


def before(options: argparse.Namespace) -> Figures:
    """Return the figures to compare with."""
    if options.against:
        return measured(options, options.against)
    saved = json.loads(BASELINE.read_text(encoding="utf-8"))
    here = machine.description()
    if any(saved["machine"][name] != here[name] for name in SAME):
        print(f"The baseline is of {saved['machine']}: use --against.", file=sys.stderr)
    figures: Figures = saved["figures"]
    return figures


def save(options: argparse.Namespace) -> int:
    """Measure and write the baseline; figures that are not measured stay as they are."""
    with checkout(options.of) as path:
        revision = git(path, "rev-parse", "--short", "HEAD")
    old: dict[str, Any] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"figures": {}}
    figures = {**old["figures"], **measured(options, options.of)}
    text = json.dumps(
        {"revision": revision, "machine": machine.description(), "figures": figures}, indent=2
    )
    BASELINE.write_text(f"{text}\n", encoding="utf-8")
    print(text)
    return 0


@contextmanager
def checkout(place: str) -> Iterator[Path]:
    """Yield a directory as it is, or a revision as a worktree that ends with this context."""
    if Path(place).is_dir():
        yield Path(place).resolve()
        return
    with TemporaryDirectory() as directory:
        path = Path(directory) / "checkout"
        git(ROOT, "worktree", "add", "--quiet", "--detach", str(path), place)
        try:
            yield path
        finally:
            git(ROOT, "worktree", "remove", "--force", str(path))


def git(directory: Path, *arguments: str) -> str:
    """Return what git prints."""
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def check_package(path: Path) -> None:
    """Refuse to measure a package that is not the checkout's."""
    command = [sys.executable, "-c", "import gateway; print(gateway.__file__)"]
    variables = callgrind.variables(path)
    found = subprocess.run(
        command, cwd=path, env=variables, stdout=subprocess.PIPE, text=True, check=True
    )
    if not Path(found.stdout.strip()).is_relative_to(path):
        raise RuntimeError(f"{path} has no gateway package: {found.stdout.strip()} is imported")


def compile_package(path: Path) -> None:
    """Compile the package's files, so that no start that is counted does it."""
    command = [sys.executable, "-m", "compileall", "-q", str(path / "gateway")]
    subprocess.run(command, env=callgrind.variables(path), check=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

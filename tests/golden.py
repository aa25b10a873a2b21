"""Golden case files: description and source, input, expected; divided by lines of four dashes."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent / "golden"
DIVIDER = re.compile(r"(?m)^----\n")
REPEATED = re.compile(r"\{\{(\d+)\*(.)\}\}")


@dataclass(frozen=True)
class Case:
    """One file."""

    name: str
    options: dict[str, list[str]]
    input: str
    expected: str

    def option(self, key: str, default: str = "") -> str:
        """Return the last value of an option."""
        return self.options.get(key, [default])[-1]


def cases(folder: str) -> list[Case]:
    """Return every case below a folder of tests/golden, by name."""
    return [_case(path) for path in sorted((ROOT / folder).glob("*.txt"))]


def _case(path: Path) -> Case:
    parts = DIVIDER.split(path.read_text())
    assert len(parts) == 3, f"{path}: three parts expected"
    head, _, rest = parts[1].partition("\n\n")
    options: dict[str, list[str]] = {}
    for line in head.strip("\n").splitlines():
        key, _, value = line.partition(":")
        options.setdefault(key.strip(), []).append(value.strip())
    return Case(path.stem, options, rest, parts[2])


def expanded(text: str) -> str:
    """Return the text with `{{N*x}}` written out."""
    return REPEATED.sub(lambda found: int(found[1]) * found[2], text)

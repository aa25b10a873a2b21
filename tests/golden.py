"""Golden case files: description and source, input, expected; divided by lines of four dashes.

A run of one character too long for a reader is `{{N*x}}`, a body that is not plain text is
`<base64> ...`. With `--golden-update` the expected part becomes what the code does now.
"""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent / "golden"
DIVIDER = re.compile(r"(?m)^----\n")
REPEATED = re.compile(r"\{\{(\d+)\*(.)\}\}")
LONG_RUN = re.compile(r"(.)\1{9999,}")
NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Case:
    """One file."""

    name: str
    options: dict[str, list[str]]
    input: str
    expected: str
    path: Path

    def option(self, key: str, default: str = "") -> str:
        """Return the last value of an option."""
        return self.options.get(key, [default])[-1]

    def rewrite(self, expected: str) -> None:
        """Give the file another expected part; description and input stay."""
        text = self.path.read_text(encoding="utf-8")
        kept = text[: len(text) - len(self.expected)]
        self.path.write_text(kept + expected, encoding="utf-8")


def cases(folder: str) -> list[Case]:
    """Return every case below a folder of tests/golden, by name."""
    return [case(path) for path in sorted((ROOT / folder).glob("*.txt"))]


def case(path: Path) -> Case:
    """Return the case of one file."""
    parts = DIVIDER.split(path.read_text(encoding="utf-8"))
    assert len(parts) == 3, f"{path}: three parts expected"
    head, _, rest = parts[1].partition("\n\n")
    options: dict[str, list[str]] = {}
    for line in head.strip("\n").splitlines():
        key, _, value = line.partition(":")
        options.setdefault(key.strip(), []).append(value.strip())
    return Case(path.stem, options, rest, parts[2], path)


def expanded(text: str) -> str:
    """Return the text with `{{N*x}}` written out."""
    return REPEATED.sub(lambda found: int(found[1]) * found[2], text)


def compressed(text: str) -> str:
    """Return the text with every long run of one character as `{{N*x}}`."""
    return LONG_RUN.sub(lambda found: f"{{{{{len(found[0])}*{found[1]}}}}}", text)


def shown(body: bytes) -> str:
    """Return a body as an expected part holds it."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if NOT_TEXT.search(text):
        text = f"<base64> {base64.b64encode(body).decode()}"
    return f"{text}\n" if text else ""

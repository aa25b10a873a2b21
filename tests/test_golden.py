"""The golden files themselves: each says what it shows, and updating touches the last part only."""

from pathlib import Path

import pytest

from tests.golden import ROOT, case, compressed, expanded, shown

TEXT = "Why it is so. Source: somewhere, 2026-11-22.\n----\nmode: single\n\ninput\n----\nold\n"


def test_options_and_input_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "name.txt"
    file.write_text(TEXT.replace("mode: single", "mode: single\nattribute: a=1\nattribute: b=2"))

    found = case(file)

    assert found.options == {"mode": ["single"], "attribute": ["a=1", "b=2"]}
    assert (found.name, found.input, found.expected) == ("name", "input\n", "old\n")


def test_rewriting_keeps_description_and_input(tmp_path: Path) -> None:
    file = tmp_path / "name.txt"
    file.write_text(TEXT)

    case(file).rewrite("new\n")

    assert file.read_text() == TEXT.replace("old", "new")


def test_long_runs_are_written_short_and_read_back() -> None:
    text = "a: " + 12_345 * "x" + "\n" + 9_999 * "y" + "\n"

    assert compressed(text) == "a: {{12345*x}}\n" + 9_999 * "y" + "\n"
    assert expanded(compressed(text)) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"K\xc3\xa4se\tok\n", "Käse\tok\n\n"),
        (b"\xff", "<base64> /w==\n"),
        (b"a\r\n", "<base64> YQ0K\n"),
    ],
)
def test_body_that_is_not_plain_text_is_base64(body: bytes, text: str) -> None:
    assert shown(body) == text


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.txt")), ids=lambda path: path.stem)
def test_case_names_its_source_and_date(path: Path) -> None:
    description = path.read_text().partition("----\n")[0]

    assert "Source: " in description
    assert "2026-" in description

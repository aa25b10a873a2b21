"""Text that a terminal only shows."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.visible import indented, on_one_line, visible, visible_json

KEPT = ["\n", "\t", " ", "~", "\xa0", "é", "\u200b", "\u200d", "\ufffd", "😀"]


@given(st.text())
def test_nothing_drives_a_terminal_or_ends_a_line(text: str) -> None:
    for shown in (visible(text), visible_json(text)):
        kinds = {unicodedata.bidirectional(character) for character in shown}
        assert not kinds & {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
        rest = shown.replace("\n", "").replace("\t", "")
        assert "Cc" not in {unicodedata.category(character) for character in rest}
        assert len(rest.splitlines()) <= 1
    assert "\n" not in on_one_line(text)
    assert all(line.startswith("    ") for line in indented(text).split("\n")[1:])


@given(st.dictionaries(st.text(), st.lists(st.text() | st.integers())))
def test_json_keeps_its_meaning(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        assert json.loads(visible_json(text.replace("\n", "\r\n"))) == value


@pytest.mark.parametrize("character", KEPT)
def test_other_characters_stay(character: str) -> None:
    assert visible(f"a\x00{character}") == f"a\\x00{character}"
    assert visible_json(f"a\x00{character}") == f"a\\u0000{character}"
    assert visible(character) == visible_json(character) == character

"""Text that clients and functions wrote, fit for a terminal and for files of lines.

Control characters are shown, not sent, and so is what ends a line for some readers (NEL, LINE
SEPARATOR) or turns the direction of the text after it (UAX 9), because it makes a line lie. Newline
and tab stay: what follows a newline is decided where lines are written.
"""

import re

INDENT = "\n    "

CONTROLS = (*range(9), *range(11, 32), *range(127, 160))
TURNS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
LINE_ENDS = (0x2028, 0x2029)

SHOWN = {code: f"\\x{code:02x}" for code in CONTROLS}
SHOWN |= {code: f"\\u{code:04x}" for code in (*TURNS, *LINE_ENDS)}
DRIVING = re.compile(f"[{''.join(map(chr, SHOWN))}]")

JSON_SHOWN = {code: f"\\u{code:04x}" for code in SHOWN} | {ord("\r"): " "}
"""As JSON has it inside of strings; outside of them JSON allows CR alone, as white space."""


def visible(text: str) -> str:
    """Return text whose only controls are newline and tab."""
    if text.isprintable() or not DRIVING.search(text):  # translate: 65 ns a character, search: 3
        return text
    return text.translate(SHOWN)


def visible_json(text: str) -> str:
    """Return JSON of the same meaning, whose only controls are newline and tab."""
    if text.isprintable() or not DRIVING.search(text):
        return text
    return text.translate(JSON_SHOWN)


def on_one_line(text: str) -> str:
    """Return text that also cannot begin a line or move to a column."""
    return visible(text).replace("\n", "\\x0a").replace("\t", "\\x09")


def indented(text: str) -> str:
    """Return text whose further lines are indented by four blanks."""
    return visible(text).rstrip("\n").replace("\n", INDENT)

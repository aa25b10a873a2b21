"""The bytes before a request line."""

import re
from typing import cast

EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
LONE_LF = re.compile(rb"(?<!\r)\n")


def without_empty_lines(buffer: bytes | bytearray) -> tuple[bytes, bytes | bytearray]:
    """Return one of the empty lines that a buffer begins with, and what follows all of them.

    One is for the judgement, a bare LF if there was one.
    """
    end = cast("re.Match[bytes]", EMPTY_LINES.match(buffer)).end()
    kept = b"\n" if LONE_LF.search(buffer, 0, end) else bytes(buffer[:end][:2])
    return kept, buffer[end:]

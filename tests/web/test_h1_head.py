"""The bytes before a request line."""

import pytest

from gateway.web.h1_head import without_empty_lines


@pytest.mark.parametrize(
    ("buffer", "kept", "rest"),
    [
        (b"GET", b"", b"GET"),
        (b"\r\nGET", b"\r\n", b"GET"),
        (b"\r\n\r\n\r\nGET", b"\r\n", b"GET"),
        (b"\nGET", b"\n", b"GET"),
        (b"\r\n\n\r\nGET", b"\n", b"GET"),
        (b"\r\n\r", b"\r\n", b"\r"),
        (b"\r", b"", b"\r"),
        (b"\rGET", b"", b"\rGET"),
        (b"", b"", b""),
    ],
)
def test_of_empty_lines_one_is_kept(buffer: bytes, kept: bytes, rest: bytes) -> None:
    assert without_empty_lines(buffer) == (kept, rest)
    assert without_empty_lines(bytearray(buffer)) == (kept, rest)

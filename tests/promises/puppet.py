"""A handler that says what the test wants it to say (apps/puppet.py), and what must come of it."""

import json
from pathlib import Path
from typing import Any

from tests.promises.wire import Wire, get, post

APPS = Path(__file__).parent / "apps"
TEXT = b"Content-Type: text/plain"
INJECTED = "X-Injected: 1"
RESPONSE = f"HTTP/1.1 200 OK\r\n{INJECTED}\r\nContent-Length: 0\r\n\r\n"
"""What a handler might want to smuggle behind its own."""

PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)

OWN = {b"server", b"date", b"content-type", b"content-length", b"connection"}
"""The headers of a response whose handler gave none."""


def name_of_front(front: list[str]) -> str:
    return front[-1] if front else "default"


def asking(given: Any) -> bytes:
    return post(json.dumps(given).encode(), TEXT)


def assert_goes_on(wire: Wire) -> None:
    """Nothing is left over, and the next request on the connection is served."""
    assert wire.pending() == b""
    assert wire.ask(get()).body == b"hello"

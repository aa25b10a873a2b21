"""Which headers an ASGI server adds of its own, so that no response has two of them.

ASGI does not tell. uvicorn and hypercorn add what their settings say in front of or behind what the
application sends, and both hand the application a method of an object that has these settings;
granian adds only what is missing. A `send` that middleware has wrapped is followed as far as
closures lead.
"""

from contextlib import suppress
from typing import Any, Literal

ServerHeaders = Literal["auto", "send", "omit"]
"""Whether Server and Date are sent: unless the server adds them, always, never."""

SERVER_AND_DATE = frozenset({b"server", b"date"})
NONE = frozenset[bytes]()

WRAPPERS = 10
"""How many wrappers are looked through."""


def added_headers(send: Any, setting: ServerHeaders = "auto") -> frozenset[bytes]:
    """Return which of Server and Date are not to be sent, in lower case."""
    match setting:
        case "send":
            return NONE
        case "omit":
            return SERVER_AND_DATE
        case "auto":
            return _found(send) or NONE


def _found(send: Any) -> frozenset[bytes] | None:
    """Return what the server adds that `send` leads to, None where it leads to no known server.

    Each is looked at once, however many closures hold it.
    """
    seen, level = dict[int, Any](), [send]
    for _ in range(WRAPPERS + 1):
        for each in level:
            added = _added_by(getattr(each, "__self__", None))
            if added is not None:
                return added
        seen |= {id(each): each for each in level}
        inside = {id(inner): inner for each in level for inner in _inside(each)}
        level = [inner for key, inner in inside.items() if key not in seen]
    return None


def _inside(send: Any) -> list[Any]:
    """Return what a `send` may wrap."""
    found = [getattr(getattr(send, "__self__", None), "send", None)]
    for cell in getattr(send, "__closure__", None) or ():
        with suppress(ValueError):  # a variable that has no value yet
            found.append(cell.cell_contents)
    return [each for each in found if callable(each)]


def _added_by(owner: Any) -> frozenset[bytes] | None:
    """Return what a server adds, given the object of which `send` is a method."""
    headers = getattr(owner, "default_headers", None)  # uvicorn's RequestResponseCycle
    config = getattr(owner, "config", None)  # hypercorn's HTTPStream
    ask = getattr(config, "response_headers", None)
    if headers is None and ask is not None:
        headers = ask("h11")
    return None if headers is None else SERVER_AND_DATE & {name.lower() for name, _ in headers}

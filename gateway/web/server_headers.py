"""Which headers an ASGI server adds of its own, so that no response has two of them.

ASGI does not tell. uvicorn and hypercorn add what their settings say in front of or behind what the
application sends, and both hand the application a method of an object that has these settings;
granian adds only what is missing. A `send` that middleware has wrapped is followed as far as
closures lead.
"""

from typing import Any, Literal

ServerHeaders = Literal["auto", "send", "omit"]
"""Whether Server and Date are sent: unless the server adds them, always, never."""

OWN = frozenset({b"server", b"date"})
NONE = frozenset[bytes]()

WRAPPERS = 10
"""How many wrappers are looked through."""


def added_headers(send: Any, setting: ServerHeaders = "auto") -> frozenset[bytes]:
    """Return which of Server and Date are not to be sent, in lower case."""
    match setting:
        case "send":
            return NONE
        case "omit":
            return OWN
        case "auto":
            return _found(send, WRAPPERS) or NONE


def _found(send: Any, depth: int) -> frozenset[bytes] | None:
    """Return what the server adds that `send` leads to, None where it leads to none."""
    owner = getattr(send, "__self__", None)
    added = _added_by(owner)
    if added is not None or not depth:
        return added
    cells = (cell.cell_contents for cell in getattr(send, "__closure__", None) or ())
    inner = [getattr(owner, "send", None), *filter(callable, cells)]
    found = (_found(each, depth - 1) for each in inner if each is not None)
    return next((each for each in found if each is not None), None)


def _added_by(owner: Any) -> frozenset[bytes] | None:
    """Return what a server adds, given the object of which `send` is a method."""
    headers = getattr(owner, "default_headers", None)  # uvicorn's RequestResponseCycle
    config = getattr(owner, "config", None)  # hypercorn's HTTPStream
    ask = getattr(config, "response_headers", None)
    if headers is None and ask is not None:
        headers = ask("h11")
    return None if headers is None else OWN & {name.lower() for name, _ in headers}

"""The fork server's end of its socket: requests come in with their descriptors, replies go out.

It imports nothing of ours, like fork_server.py, which loads it. Requests and replies are lines of
JSON on a stream socket to the gateway; with the first byte of a request come its descriptors:
output, log, and zero or two namespaces.

    {"id": 1, "plan": {...}}  ->  {"started": 1, "pid": 70}, later {"exited": 1, "pid": 70, "status": 0}
                              or  {"failed": 1, "why": "..."}
"""  # noqa: E501 - the two replies belong on one line each

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any, NamedTuple

# More than any request has: output, log, two namespaces.
_MAX_DESCRIPTORS = 16


class Request(NamedTuple):
    """A plan that a child is to become, and the descriptors that came with it."""

    number: int
    plan: dict[str, Any]
    descriptors: list[int]
    is_complete: bool
    """Whether all its descriptors have come: the kernel drops those that find no room here."""


class Channel:
    """Reads requests from the gateway and writes replies to it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._descriptors: list[int] = []
        self.is_over = False
        """Whether the gateway is gone."""

    def fileno(self) -> int:
        """Return the descriptor of the socket."""
        return self._connection.fileno()

    def detach(self) -> None:
        """Leave the socket to another process, the one that forked this."""
        self._connection.detach()

    def receive(self) -> list[Request]:
        """Return the requests that are complete now; waits while there is nothing to read."""
        *lines, self._received = (self._received + self._read()).split(b"\n")
        return [self._request(json.loads(line)) for line in lines]

    def send(self, reply: dict[str, Any]) -> None:
        """Write a reply; a gateway that is gone is noticed by reading."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(reply).encode() + b"\n")

    def _request(self, told: dict[str, Any]) -> Request:
        count = told["descriptors"]
        descriptors = self._descriptors[:count]
        del self._descriptors[:count]
        return Request(told["id"], told["plan"], descriptors, len(descriptors) == count)

    def _read(self) -> bytes:
        space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * 4)
        try:
            data, ancillary, _, _ = self._connection.recvmsg(65536, space)
        except OSError:
            data, ancillary = b"", []
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors += memoryview(content[: len(content) // 4 * 4]).cast("i")
        self.is_over = self.is_over or not data
        return data

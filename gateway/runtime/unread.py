"""Tells from a lost connection whether its peer had read everything that was sent to it.

A process that ends with bytes unread in a socket has its system send a reset instead of an orderly
close (RFC 1122, 4.2.2.13), and what comes after the close is never acknowledged. So a runtime whose
connection was reset before it sent anything has not seen the end of its event, and has executed
nothing; one that has read all of it counts as having executed it, and the event is not repeated.
"""

import asyncio
import socket
import struct

TCP_CLOSE = 7
"""The state after a reset; after an orderly close of the peer it is CLOSE_WAIT (tcp(7))."""

INFO = struct.Struct("=8B5I")
"""The beginning of Linux's tcp_info: the state, seven bytes, four numbers, and how many segments
have not been acknowledged."""


def has_left_bytes(transport: asyncio.BaseTransport, error: Exception | None) -> bool:
    """Say whether the peer ended without reading everything; to be asked in `connection_lost`.

    Where the system does not tell more than the error, an orderly close counts as read.
    """
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return True
    try:
        found = transport.get_extra_info("socket")
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO.size)
        state, *_, unacknowledged = INFO.unpack(info)
    except (AttributeError, OSError, struct.error):  # not Linux, or closed already
        return False
    return bool(state == TCP_CLOSE or unacknowledged)

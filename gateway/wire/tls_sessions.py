"""Switches off the session cache of a TLS context, which Python has no way to do.

OpenSSL keeps TLS 1.2 sessions with the context of a server, and a client that resumes one shows no
certificate; with mutual TLS every handshake is to be a full one (alb.md 4.7). The C interface of
the libssl that Python itself uses can switch the cache off. It is asked only where the address of
the C context is known, and it has to read back what Python has set before it is asked to change
anything. Elsewhere each handshake begins with an empty context, whose cache ends with it.
"""

import _ssl
import ctypes
import ssl
import sys
from functools import cache

CHECKED_VERSIONS = frozenset({(3, 11), (3, 12), (3, 13), (3, 14)})
"""The versions of CPython whose `PySSLContext` has the `SSL_CTX *` as its first field
(Modules/_ssl.c)."""

SET_CACHE_MODE, GET_CACHE_MODE, CACHE_OFF = 44, 45, 0
"""SSL_CTRL_SET_SESS_CACHE_MODE, SSL_CTRL_GET_SESS_CACHE_MODE and SSL_SESS_CACHE_OFF (ssl.h)."""


def keeps_no_sessions(context: ssl.SSLContext) -> bool:
    """Switch a context's session cache off; returns whether that could be done."""
    library = _libssl()
    if library is None:
        return False
    pointer = _pointer(context)
    library.SSL_CTX_ctrl(pointer, SET_CACHE_MODE, CACHE_OFF, None)
    return int(library.SSL_CTX_ctrl(pointer, GET_CACHE_MODE, 0, None)) == CACHE_OFF


_POINTER = ctypes.c_void_p


@cache
def _libssl() -> ctypes.CDLL | None:
    """Return the libssl of Python's own `ssl` module, None where that cannot be proved."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in CHECKED_VERSIONS:
        return None
    try:
        # A look-up in a loaded module goes on in the libraries that it was linked with.
        library = ctypes.CDLL(_ssl.__file__)
        library.SSL_CTX_ctrl.restype = ctypes.c_long
        library.SSL_CTX_ctrl.argtypes = [_POINTER, ctypes.c_int, ctypes.c_long, _POINTER]
        library.SSL_CTX_get_num_tickets.restype = ctypes.c_size_t
        library.SSL_CTX_get_num_tickets.argtypes = [_POINTER]
    except (AttributeError, OSError):  # `_ssl` or libssl is a part of the interpreter
        return None
    return library if _reads_what_python_sets(library) else None


def _reads_what_python_sets(library: ctypes.CDLL) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pointer = _pointer(context)
    for number in (5, 3):
        context.num_tickets = number
        if library.SSL_CTX_get_num_tickets(pointer) != number:
            return False
    return True


def _pointer(context: ssl.SSLContext) -> int:
    """Return the address of the `SSL_CTX` of a context, its first field after the object's head."""
    address = id(context) + object.__basicsize__
    pointer: int = ctypes.c_void_p.from_address(address).value or 0
    return pointer

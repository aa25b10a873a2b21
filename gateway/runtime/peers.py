"""Which process holds the other end of a loopback connection, as Linux tells it.

The kernel is asked for one socket by its two addresses (sock_diag(7)): 25 us, where reading
/proc/net/tcp was measured at 20 ms on a machine whose table is large. It answers with the owner's
user and the inode, and /proc/PID/fd of the holder has a link with that inode.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

Address = tuple[str, int]

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=BBBBI")  # struct inet_diag_req_v2, without its struct inet_diag_sockid
_PORTS = struct.Struct(">HH")
_ANY_INTERFACE_AND_COOKIE = bytes(4) + b"\xff" * 8
_USER_AND_INODE = struct.Struct("=II")
_PORTS_OFFSET = _HEADER.size + 4  # after family, state, timer and retransmissions
_USER_OFFSET = _PORTS_OFFSET + 48 + 12  # after struct inet_diag_sockid and three counters
_ANSWER_BYTES = 4096
_ANSWER_SECONDS = 1
_IS_REQUEST = 1

FIRST_DESCRIPTORS = range(3, 12)
"""Where a runtime's first connection is: a look at each costs 1 us, a listing 15."""


class Sight(Enum):
    """What can be known of the other end of a loopback connection."""

    NOTHING = ""
    USER = "user"
    PROCESS = "process"


class PeerSocket(NamedTuple):
    """The socket at the other end."""

    user: int
    inode: int

    @property
    def link(self) -> str:
        """What /proc/PID/fd shows of it."""
        return f"socket:[{self.inode}]"


def peer_socket(peer: Address, own: Address) -> PeerSocket | None:
    """Return the socket that is bound to `peer` and connected to `own`, both IPv4.

    None when it does not exist, as after its close; raises OSError where the kernel does not tell.
    """
    ports = _PORTS.pack(peer[1], own[1])
    hosts = b"".join([socket.inet_aton(host).ljust(16, b"\0") for host, _ in (peer, own)])
    what = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
    request = what + ports + hosts + _ANY_INTERFACE_AND_COOKIE
    length = _HEADER.size + len(request)
    answer = _asked(_HEADER.pack(length, _BY_FAMILY, _IS_REQUEST, 1, 0) + request)
    # Of a connection that is gone the kernel shows what listens on its port, connected to none.
    if answer[_PORTS_OFFSET : _PORTS_OFFSET + _PORTS.size] != ports:
        return None
    return PeerSocket(*_USER_AND_INODE.unpack_from(answer, _USER_OFFSET))


def _asked(message: bytes) -> bytes:
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG
    ) as kernel:
        kernel.settimeout(_ANSWER_SECONDS)  # it answers within the call that asks
        kernel.send(message)
        return kernel.recv(_ANSWER_BYTES)


def first_links(pid: int) -> Iterator[str]:
    """Give what the lowest descriptors of a process point to."""
    directory = f"/proc/{pid}/fd/"
    for number in FIRST_DESCRIPTORS:
        try:
            yield os.readlink(f"{directory}{number}")  # noqa: PTH115 - a third of the time
        except OSError:
            continue


def links(directory: str) -> Iterator[str]:
    """Give what the descriptors in a /proc/PID/fd point to; nothing when the process is gone.

    Raises PermissionError when the process hides them (PR_SET_DUMPABLE in prctl(2)).
    """
    yield from links_of(directory, names(directory))


def links_of(directory: str, listed: Iterable[str]) -> Iterator[str]:
    """Give what those descriptors that are still open point to."""
    for name in listed:
        try:
            yield os.readlink(f"{directory}/{name}")  # noqa: PTH115
        except (FileNotFoundError, ProcessLookupError):  # closed meanwhile
            continue


def names(directory: str) -> list[str]:
    """Return what is in a directory of /proc, nothing when the process is gone."""
    try:
        return os.listdir(directory)  # noqa: PTH208 - the names are all that is wanted
    except (FileNotFoundError, ProcessLookupError):
        return []


def find_sight(ask: Callable[[Address, Address], PeerSocket | None] = peer_socket) -> Sight:
    """Try what can be known, with a connection of this process to itself."""
    if sys.platform != "linux":
        return Sight.NOTHING
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            socket.create_connection(listening.getsockname()) as one,
        ):
            found = ask(one.getsockname(), listening.getsockname())
            return _sight(found, os.fstat(one.fileno()).st_ino)
    except OSError:
        return Sight.NOTHING


def _sight(found: PeerSocket | None, inode: int) -> Sight:
    if found is None or found.user != os.geteuid():
        return Sight.NOTHING
    is_shown = found.inode == inode and found.link in links(f"/proc/{os.getpid()}/fd")
    return Sight.PROCESS if is_shown else Sight.USER

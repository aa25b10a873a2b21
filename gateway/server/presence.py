"""Where the gateways of this user listen: a file each, for `gateway health`.

A gateway holds a lock on its file as long as it lives, so the file of one that was killed is known
for what it is, in other containers and process namespaces too. The directory is private to the
user. A gateway that cannot write there serves without a file.
"""

import fcntl
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

PRIVATE = 0o700
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
"""Addresses that mean every interface of the machine, and where to reach what listens on them."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Where a gateway listens."""

    url: str
    family: int
    address: str | tuple[str | int, ...]
    """As `connect` takes it."""

    def connect(self, timeout: float) -> None:
        """Connect and close; raises OSError when the gateway does not accept."""
        with socket.socket(self.family, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(self.address)


def reachable(listening: socket.socket, url: str) -> Presence:
    """Return how to reach what listens on a socket."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return Presence(url, socket.AF_UNIX, str(Path(name).absolute()))
    return Presence(url, listening.family, (ANYWHERE.get(name[0], name[0]), *name[1:]))


def directory(environ: Mapping[str, str]) -> Path:
    """Return where the files of this user are."""
    place = environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(place, f"gateway-{os.geteuid()}")


@contextmanager
def announced(found: Presence, place: Path) -> Iterator[None]:
    """Have `gateway health` find a listener until the block ends."""
    with ExitStack() as stack:
        with suppress(OSError):
            place.mkdir(mode=PRIVATE, exist_ok=True)
            if _is_private(place):
                stack.callback(_remove_if_empty, place)
                _write(found, place, stack)
        yield


def _write(found: Presence, place: Path, stack: ExitStack) -> None:
    """Write a file, first under a name that is not looked for: found ones are whole and locked."""
    descriptor, name = tempfile.mkstemp(dir=place, prefix=".")
    path = Path(name)
    stack.callback(os.close, descriptor)
    stack.callback(_remove, path)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, json.dumps(asdict(found)).encode())
    visible = place / f"{path.name[1:]}.listener"
    path.rename(visible)
    stack.callback(_remove, visible)


def _remove(path: Path) -> None:
    """Remove a file, unless its directory is another one by now."""
    with suppress(OSError):
        path.unlink()


def _remove_if_empty(place: Path) -> None:
    """Remove the directory of the last gateway of a user."""
    with suppress(OSError):
        place.rmdir()


def listeners(place: Path) -> list[Presence]:
    """Return where the living gateways of this user listen, sorted by URL; files of dead ones are
    removed. Root that runs none sees those of all users: one may have given up root's rights."""
    found = _listeners(place) if _is_private(place) else []
    if not found and os.geteuid() == 0:
        others = (each for each in place.parent.glob("gateway-*") if _is_of_its_user(each))
        found = [one for each in others for one in _listeners(each)]
    return sorted(found, key=lambda one: one.url)


def _listeners(place: Path) -> list[Presence]:
    found = (_read(path) for path in place.glob("*.listener"))
    return [one for one in found if one is not None]


def _opened(path: Path) -> IO[str]:
    """Open a file that may be another user's: neither a link nor a pipe that nothing writes to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    return os.fdopen(descriptor, encoding="utf-8")


def _read(path: Path) -> Presence | None:
    """Return what a file says, None when its gateway is dead."""
    with suppress(OSError, ValueError, TypeError, LookupError), _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # its gateway holds it
            given = json.load(file)
            address = given["address"]
            place = address if isinstance(address, str) else tuple(address)
            return Presence(given["url"], given["family"], place)
        path.unlink()
    return None


def _is_private(place: Path) -> bool:
    """Say whether a directory is the user's own: in /tmp others may make one of the same name."""
    return _is_private_to(place, os.geteuid())


def _is_of_its_user(place: Path) -> bool:
    """Say whether a directory belongs to the user that its name names."""
    uid = place.name.removeprefix("gateway-")
    return uid.isdecimal() and _is_private_to(place, int(uid))


def _is_private_to(place: Path, uid: int) -> bool:
    try:
        found = place.lstat()
    except OSError:
        return False
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == uid
    return is_own and stat.S_IMODE(found.st_mode) == PRIVATE

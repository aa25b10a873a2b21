"""The socket of a listener: an address, a path, or one that another process has opened.

It is opened once, by the process that was started; workers inherit it (workers.py), so a connection
in its queue belongs to no worker until one accepts it.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gateway.core.errors import InvalidSetting

BACKLOG = 2048

UNIX_PORT = 80
"""The port that events name for a socket without one."""

ADVICE: dict[int | None, str] = {
    errno.EADDRINUSE: "choose another --port, 0 for any free one",
    errno.EACCES: "ports below 1024 are for root, choose another --port",
}


@contextmanager
def opened(
    host: str, port: int, path: str = "", handed_over: socket.socket | None = None
) -> Iterator[socket.socket]:
    """Yield the listening socket: the one handed over, else that of a path or of an address;
    raises InvalidSetting when it is not available."""
    if handed_over is not None:
        with handed_over:
            if path:
                raise InvalidSetting("--uds is not for a socket that the service manager opens")
            yield handed_over
    elif path:
        with unix_socket(Path(path)) as listening:
            yield listening
    else:
        with listening_socket(host, port) as listening:
            yield listening


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a bound, listening TCP socket; raises InvalidSetting when the address cannot be
    had."""
    with ExitStack() as stack:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(BACKLOG)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
            raise InvalidSetting(f"cannot listen on {host}:{port}: {reason(error)}") from error
        stack.pop_all()  # it is the caller's now
    listening.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return listening


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Yield a listening Unix socket, whose file is removed at the end unless it is another's by
    then; its mode is what the umask leaves of 0777.

    The file of a server that is gone is replaced. Raises InvalidSetting when one listens there, and
    when the file cannot be made.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        identity = _bound(listening, path)
        listening.setblocking(False)  # noqa: FBT003
        try:
            yield listening
        finally:
            with suppress(OSError):
                if _identity(path) == identity:
                    path.unlink()


def _bound(listening: socket.socket, path: Path) -> tuple[int, int]:
    """Bind to a path and listen; returns what tells the file from another one."""
    try:
        _free(path)
        listening.bind(str(path))
        identity = _identity(path)
        listening.listen(BACKLOG)
    except OSError as error:
        said = error.strerror or error
        raise InvalidSetting(f"cannot listen on {path}: {said}; choose another --uds") from error
    return identity


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _free(path: Path) -> None:
    """Remove the file of a socket without a server; raises InvalidSetting for any other file."""
    if not path.exists():
        return
    if not path.is_socket():
        raise InvalidSetting(f"cannot listen on {path}: the file is not a socket; remove it first")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full
            pass
    raise InvalidSetting(f"cannot listen on {path}: a server listens there already")


def reason(error: OSError | UnicodeError) -> str:
    """Return why an address is not available, and what to do about it."""
    said = getattr(error, "strerror", None) or str(error)
    number = getattr(error, "errno", None)
    return f"{said}; {ADVICE.get(number, 'choose another --host')}"


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """Return the URL of a listening socket, `unix:PATH` for one that has no address."""
    if listening.family == socket.AF_UNIX:
        return f"unix:{listening.getsockname()}"
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def port_of(listening: socket.socket) -> int:
    """Return the port that events name."""
    if listening.family == socket.AF_UNIX:
        return UNIX_PORT
    port: int = listening.getsockname()[1]
    return port

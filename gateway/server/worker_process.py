"""The program of a worker: takes its assignment from the channel and serves.

It is executed by path, with a search path that is then replaced by the parent's; so the modules of
the working directory are found by a worker only where the parent finds them.
"""

import io
import marshal
import pickle
import signal
import socket
import sys


def main() -> None:
    """Serve as a worker; ends with status 2 and a line where it cannot start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the stage has handlers: no traceback
    channel = socket.socket(fileno=int(sys.argv.pop(1)))
    channel.set_inheritable(False)
    given = io.BytesIO(_received(channel))
    sys.path[:] = marshal.load(given)  # noqa: S302 - the parent wrote it
    # What the assignment is made of is found from here on.
    from gateway.server.worker_life import serve  # noqa: PLC0415

    serve(pickle.load(given), channel)  # noqa: S301 - the parent wrote it


def _received(channel: socket.socket) -> bytes:
    """Read the assignment; the process ends quietly when the parent has died before it."""
    with channel.makefile("rb", buffering=0) as file:
        length = int.from_bytes(_read(file, 4))
        return _read(file, length)


def _read(file: io.RawIOBase, count: int) -> bytes:
    """Read this many bytes and no more."""
    data = b""
    while len(data) < count:
        piece = file.read(count - len(data))
        if not piece:
            raise SystemExit(1)
        data += piece
    return data


if __name__ == "__main__":
    main()

"""What a service manager is told and what it hands over: sd_notify(3) and sd_listen_fds(3).

Both come in variables that are taken away here, so that nothing that a function starts can speak
for the gateway or take its socket for its own.
"""

import asyncio
import math
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress

from gateway.core.errors import InvalidSetting

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START of sd-daemon.h."""

SEND_SECONDS = 1.0
"""How long a manager may leave a message waiting; then it is dropped."""


class Notifier:
    """Tells the service manager how far the service is; without one every call does nothing."""

    def __init__(
        self, address: str, watchdog_seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_seconds = watchdog_seconds
        self._monotonic = monotonic

    def ready(self, status: str) -> None:
        """Say that it serves, for the first time or again after a reload."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload has begun, and when: the manager compares that with the time of its
        signal (systemd.service(5), Type=notify-reload)."""
        microseconds = math.ceil(self._monotonic() * 1e6)
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", "STATUS=reloading")

    def stopping(self) -> None:
        """Say that it lets requests finish and then ends."""
        self._send("STOPPING=1", "STATUS=letting requests finish")

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say that the event loop turns, now and at every half of WATCHDOG_USEC."""
        if self._watchdog_seconds:
            self._send("WATCHDOG=1")
            loop.call_later(self._watchdog_seconds / 2, self.watch, loop)

    def _send(self, *assignments: str) -> None:
        """Send one message; a manager that is gone changes nothing for the service."""
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in assignments)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_SECONDS)
            sender.sendto(message.encode(errors="replace"), self._address)


def notifier(environ: MutableMapping[str, str], monotonic: Callable[[], float]) -> Notifier:
    """Take the manager's address and its watchdog out of the variables; the clock is the
    machine's, in seconds."""
    address = environ.pop("NOTIFY_SOCKET", "")
    microseconds = environ.pop("WATCHDOG_USEC", "")
    is_ours = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    seconds = int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0
    return Notifier(address, seconds, monotonic)


def handed_over(environ: MutableMapping[str, str]) -> socket.socket | None:
    """Take the listening socket that socket activation has opened for this process, if there is
    one; raises InvalidSetting for several, and for another kind."""
    process, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if process != str(os.getpid()) or count in {"", "0"}:
        return None
    if count != "1":
        raise InvalidSetting(
            f"the service manager has handed over {count} sockets ({names or 'without names'}); "
            "one is served, so keep one ListenStream= in the socket unit"
        )
    return _listening(FIRST_DESCRIPTOR)


def _listening(descriptor: int) -> socket.socket:
    """Return the stream socket of a descriptor; raises InvalidSetting."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError as error:
        raise InvalidSetting(
            f"descriptor {descriptor} of the service manager is not a socket: {error.strerror}"
        ) from error
    is_stream = found.type == socket.SOCK_STREAM
    if not is_stream or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.close()
        raise InvalidSetting(
            f"descriptor {descriptor} of the service manager is not a listening stream socket; "
            "the socket unit needs ListenStream= and Accept=no"
        )
    found.set_inheritable(False)
    found.setblocking(False)  # noqa: FBT003
    return found

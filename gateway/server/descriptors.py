"""How many descriptors this process may have, and how many connections they leave room for.

Each process divides its own limit: what its environments, threads or upstreams need is set aside,
and connections get the rest. So a crowd of idle clients never keeps an environment from starting,
and never takes what another address needs.
"""

import asyncio
import errno
import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from gateway.core.errors import InvalidSetting
from gateway.core.limits import Limits

OWN = 96
"""For sockets, logs, certificates that are read and code that is loaded: 15 to 80 measured."""

PER_ENVIRONMENT = 12
"""Two pipes, two sockets and three namespaces are 9; a start needs up to 3 more."""

PER_THREAD = 4
"""An event loop for handlers that are coroutine functions has 3."""

PER_UPSTREAM = 2
"""The connection, and a look-up of its name."""

LEAST_CONNECTIONS = 32
"""With less room than this the gateway does not start."""

ADDRESS_SHARE = 4
"""One address gets no more than this part of the connections that there is room for."""

MACOS_MOST = 10_240
"""OPEN_MAX of macOS, over which setrlimit(2) fails though the hard limit is infinite."""

WATCH_SECONDS = 1.0
"""How often a process looks whether a descriptor is left: libuv closes the connections that
get none and reports nothing (uv__emfile_trick)."""

DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Use:
    """What is set aside, besides the process's own."""

    name: str
    """In the plural, for people."""
    count: int
    each: int

    def __str__(self) -> str:
        return f"{self.count:,} {self.name} x {self.each}"


def raise_limit() -> int:
    """Raise the soft limit to the hard one and return it; what a function starts gets Lambda's
    1,024 all the same (`Plan.open_files`)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_endless = hard == resource.RLIM_INFINITY
    soft = MACOS_MOST if sys.platform == "darwin" and (is_endless or hard > MACOS_MOST) else hard
    with suppress(ValueError, OSError):  # a sandbox may forbid it
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def fit(
    limits: Limits,
    allowed: int,
    uses: Sequence[Use],
    *,
    is_one_address: bool,
    listeners: int = 1,
) -> tuple[Limits, str]:
    """Return the limits of one of several listeners that this many descriptors allow, and a line
    where they are lower than the defaults; raises InvalidSetting, with the numbers, for what was
    asked for and does not fit.

    `is_one_address` says that all clients seem to have the same one, as on a Unix socket.
    """
    if allowed == resource.RLIM_INFINITY:
        return limits, ""
    used = OWN + sum(use.count * use.each for use in uses)
    room = (allowed - used) // listeners
    least = limits.connections if limits.connections != DEFAULT.connections else LEAST_CONNECTIONS
    if room < least:
        each = f" on each of {listeners} listeners" if listeners > 1 else ""
        raise InvalidSetting(
            f"{allowed:,} descriptors (ulimit -n) are too few: {OWN} of its own, "
            f"{', '.join(map(str, uses))} and {least:,} connections{each} are "
            f"{used + least * listeners:,}; raise the limit, or lower --concurrency or "
            "--limit connections"
        )
    if room >= limits.connections:
        return limits, ""
    share = room if is_one_address else room // ADDRESS_SHARE
    of_one = min(limits.connections_per_address, room)
    if limits.connections_per_address == DEFAULT.connections_per_address:
        of_one = min(of_one, share)
    fitted = replace(limits, connections=room, connections_per_address=of_one)
    line = f"connections: {room:,}, {of_one:,} of one address; {allowed:,} descriptors (ulimit -n)"
    return fitted, line


def watch(
    loop: asyncio.AbstractEventLoop, say: Callable[[str], None], *, is_short: bool = False
) -> None:
    """Say when no descriptor is left, and when there is one again, as long as the event loop
    runs."""
    error = shortage()
    if error and not is_short:
        say(f"{error}: new connections are closed until a descriptor is free")
    elif is_short and not error:
        say("descriptors are free again")
    loop.call_later(WATCH_SECONDS, partial(watch, loop, say, is_short=bool(error)))


def shortage() -> str:
    """Return why no descriptor can be had, nothing when one can."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return (error.strerror or "") if error.errno in {errno.EMFILE, errno.ENFILE} else ""
    return ""

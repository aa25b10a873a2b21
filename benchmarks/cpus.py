"""The cores of each process: the client gets the last core for itself, the servers get all others.

Without that the scheduler puts client and server on one core and lets every response interrupt
the server. macOS cannot pin; there, and on a single core, everything runs where it likes.
"""

import os
import time

ALLOWED: set[int] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
"""The cores this process was given when it began."""


def client_is_alone() -> bool:
    """Say whether there is a core that only the client uses."""
    return len(ALLOWED) > 1


def pin_client() -> None:
    """Keep the calling process on the client's core."""
    if client_is_alone():
        os.sched_setaffinity(0, {client_cpu()})


def keep_off_the_clients(pid: int) -> None:
    """Keep a process just started, and the threads it will start, on the other cores."""
    if client_is_alone():
        os.sched_setaffinity(pid, ALLOWED - {client_cpu()})


def client_cpu() -> int:
    """Return the client's core."""
    return max(ALLOWED)


def used_seconds() -> float:
    """Return the user and system time that the calling process has used."""
    return time.process_time()

"""A handler that does to its environment what the path names."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

MEGABYTE = 1024 * 1024
TEN_MINUTES = 600


def handler(event, context):
    """Do what the path names, then answer with the process id."""
    path, _, number = event["path"].strip("/").partition("/")
    answer = ACTIONS[path](int(number or 0))
    body = {"pid": os.getpid(), "answer": answer}
    return {"statusCode": 200, "body": json.dumps(body) if path != "large" else answer}


def nothing(_):
    """Do nothing."""


def leaving(status):
    """End in Python's way."""
    sys.exit(status)


def exiting(status):
    """End at once."""
    os._exit(status)


def killing(number):
    """End by a signal."""
    os.kill(os.getpid(), number)


def raising(_):
    """Fail as handlers do."""
    raise ValueError("no such customer")


def large(megabytes):
    """Answer with more than may be answered."""
    return "x" * (megabytes * MEGABYTE)


def printing(megabytes):
    """Write a lot to stdout."""
    line = b"x" * 1023 + b"\n"
    for _ in range(megabytes):
        os.write(1, line * 1024)


def breeding(count):
    """Start processes that are in sessions of their own and ignore SIGTERM."""
    sleeper = f"trap '' TERM HUP; sleep {TEN_MINUTES}"
    children = [
        subprocess.Popen(["sh", "-c", sleeper], start_new_session=True) for _ in range(count)
    ]
    return [child.pid for child in children]


def leaving_children(count):
    """Start such processes, then end without them."""
    breeding(count)
    os._exit(0)


def waiting(_):
    """Ignore SIGTERM and wait without an end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()


def waiting_with_children(count):
    """Start such processes, then wait with them."""
    breeding(count)
    waiting(0)


def filling(megabytes):
    """Write to /tmp."""
    place = Path(os.environ.get("TMPDIR", "/tmp"), "filled")
    try:
        with place.open("wb", buffering=0) as file:
            for _ in range(megabytes):
                file.write(bytes(MEGABYTE))
                os.fsync(file.fileno())
    except OSError as error:
        return error.strerror
    finally:
        place.unlink(missing_ok=True)


def allocating(megabytes):
    """Take memory and touch it."""
    held = bytearray(megabytes * MEGABYTE)
    held[::1024] = b"x" * len(held[::1024])


def holding_descriptors(_):
    """Open files until the system refuses."""
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return error.strerror
    finally:
        for descriptor in held:
            os.close(descriptor)


def forking(_):
    """Start processes that start processes, without an end."""
    while True:
        try:
            os.fork()
        except OSError:
            threading.Event().wait(0.01)


ACTIONS = {
    "nothing": nothing,
    "good": nothing,
    "sys-exit": leaving,
    "exit": exiting,
    "kill": killing,
    "raise": raising,
    "large": large,
    "print": printing,
    "breed": breeding,
    "breed-and-exit": leaving_children,
    "breed-and-wait": waiting_with_children,
    "wait": waiting,
    "fill": filling,
    "allocate": allocating,
    "open": holding_descriptors,
    "fork": forking,
}

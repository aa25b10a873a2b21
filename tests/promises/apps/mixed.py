"""What a soak asks for: most requests are good, some end or fill their environment."""

import os
import sys
import threading
from pathlib import Path

MEGABYTE = 1024 * 1024
TEMPORARY = os.environ.get("TMPDIR", "/tmp")


def handler(event, context):
    """Do what the path names, then answer."""
    body = ACTIONS[event["path"]]()
    return {"statusCode": 200, "body": body or "done"}


def good():
    """Do nothing."""


def printing():
    """Print a lot."""
    print("x" * 10_000)


def failing():
    """Fail as handlers do."""
    raise ValueError("no such customer")


def leaving():
    """End the process."""
    sys.exit(3)


def large():
    """Answer with a lot."""
    return "x" * 500_000


def slow():
    """Take a while."""
    threading.Event().wait(0.02)


def writing():
    """Leave a file."""
    Path(TEMPORARY, "file").write_bytes(bytes(MEGABYTE))


def fork_without_end():
    """Start processes that start processes."""
    while True:
        try:
            os.fork()
        except OSError:
            threading.Event().wait(0.01)


def allocate_without_end():
    """Take memory, 8 MB at a time."""
    held = []
    while True:
        held.append(b"x" * (8 * MEGABYTE))


def fill_without_end():
    """Write to /tmp until it is full, and go on trying."""
    for number in range(1_000_000):
        try:
            Path(TEMPORARY, str(number)).write_bytes(bytes(MEGABYTE))
        except OSError:
            threading.Event().wait(0.01)


def open_without_end():
    """Open files until there are no more, and go on trying."""
    held = []
    while True:
        try:
            held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            threading.Event().wait(0.01)


ACTIONS = {
    "/good": good,
    "/print": printing,
    "/raise": failing,
    "/exit": leaving,
    "/large": large,
    "/slow": slow,
    "/file": writing,
    "/fork": fork_without_end,
    "/allocate": allocate_without_end,
    "/fill": fill_without_end,
    "/open": open_without_end,
}

"""The handler that is attacked: a greeting, a large page, and what this process holds."""

import asyncio
import gc
import json
import threading
from collections import Counter

LARGE = "x" * 100_000
HELD = ("Connection", "Task", "TCPTransport")


def handler(event, _context):
    """Answer by path."""
    return {"statusCode": 200, "body": PAGES.get(event["path"], greeting)()}


def greeting():
    """Return what honest clients ask for."""
    return "hello"


def large():
    """Return what slow readers ask for: more than a kernel takes for a small window."""
    return LARGE


def inspected():
    """Return how many tasks, connections, transports and threads there are, after a collection."""
    gc.collect()
    objects = (each for each in gc.get_objects() if type(each).__name__ in HELD)
    counts = Counter(
        type(each).__name__
        for each in objects
        if not (isinstance(each, asyncio.Task) and each.done())
    )
    return json.dumps(
        {**{name: counts[name] for name in HELD}, "threads": threading.active_count()}
    )


PAGES = {"/large": large, "/inspect": inspected}

"""Answers with the event itself as JSON; some paths do something else instead."""

import base64
import json
import os
import sys
from pathlib import Path

from gate import wait_at


def handler(event, context):
    """Do what the path names, else answer with the event."""
    return ACTIONS.get(event["path"], echo)(event)


def reply(event, body="", status=200, headers=(), **more):
    """Return a reply in the form of the mode that the event has."""
    if "multiValueHeaders" in event:
        given = {}
        for name, value in headers:
            given.setdefault(name, []).append(value)
        form = {"multiValueHeaders": given}
    else:
        form = {"headers": dict(headers)}
    return {"statusCode": status, "body": body, **form, **more}


def header(event, name):
    """Return a header of the request in either mode."""
    if "multiValueHeaders" in event:
        return event["multiValueHeaders"].get(name, [""])[-1]
    return event["headers"].get(name, "")


def echo(event):
    """Answer with the event."""
    return reply(event, json.dumps(event), headers=[("Content-Type", "application/json")])


def size(event):
    """Answer with the length of the body."""
    return reply(event, str(len(event["body"])))


def no_content(event):
    """Answer 204."""
    return reply(event, "dropped", status=204)


def binary(event):
    """Answer with every byte there is."""
    body = base64.b64encode(bytes(range(256))).decode()
    return reply(event, body, headers=[("Content-Type", "image/png")], isBase64Encoded=True)


def cookies(event):
    """Set one cookie twice and another one once."""
    given = [("Set-Cookie", "a=1"), ("Set-Cookie", "a=2"), ("Set-Cookie", "b=3"), ("X-Last", "1")]
    return reply(event, headers=given)


def spelled_cookies(event):
    """Set two cookies with two spellings, as adapters do in single-value mode."""
    return reply(event, headers=[("Set-Cookie", "a=1"), ("Set-cookie", "b=2")])


def bad_header(event):
    """Break a rule of ALB: a header value must be a string."""
    return {"statusCode": 200, "headers": {"content-length": 17}, "body": "x" * 17}


def failing(event):
    """Fail as handlers do."""
    raise ValueError("no such customer")


def exiting(event):
    """Try to end the process."""
    sys.exit("the handler wants to leave")


def interrupting(event):
    """Try to end the process in the other way."""
    raise KeyboardInterrupt


def printing(event):
    """Print two lines, one of which tries to drive a terminal."""
    print("first line")
    print("second \x1b[31mline")
    return reply(event)


def waiting(event):
    """Wait at a gate, then say so there and answer."""
    gate = header(event, "x-gate")
    wait_at(gate)
    with Path(gate, "passed").open("r+b", buffering=0) as passed:
        passed.write(b".")
    return reply(event, f"passed in {os.getpid()}")


ACTIONS = {
    "/204": no_content,
    "/size": size,
    "/binary": binary,
    "/cookies": cookies,
    "/spelled-cookies": spelled_cookies,
    "/bad-header": bad_header,
    "/raise": failing,
    "/exit": exiting,
    "/interrupt": interrupting,
    "/print": printing,
    "/wait": waiting,
}

"""Replies with whatever the request's body says, as JSON: the test pulls the strings."""

import json


def handler(event, context):
    """Return the reply that was asked for, its body repeated, or a greeting without one."""
    if not event["body"]:
        return {"statusCode": 200, "body": "hello"}
    reply = json.loads(event["body"])
    times = reply.pop("times", 1)
    return {**reply, "body": reply["body"] * times} if "body" in reply else reply

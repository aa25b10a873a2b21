"""Takes its time with each request, as a handler that waits for a database does."""

import select

SECONDS = 0.04


def handler(event, context):
    """Answer after a while."""
    select.select([], [], [], SECONDS)
    return {"statusCode": 200, "body": "done"}

"""The function that every contestant runs."""

REPLY = {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "hello\n"}


def handler(_event, _context):
    """Return a small reply at once: what is measured is everything around it."""
    return REPLY

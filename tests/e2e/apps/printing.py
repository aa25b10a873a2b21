"""Prints before and after it waits at the gate."""

from gate import wait_at


def handler(event, context):
    """Print the path's number twice."""
    number = event["path"].strip("/")
    print(f"before {number}")
    wait_at(event["headers"]["x-gate"])
    print(f"after {number}")
    return {"statusCode": 200}

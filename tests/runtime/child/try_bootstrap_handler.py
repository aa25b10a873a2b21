"""The handler that try_bootstrap.py loads."""


def get(event, context):
    """Return the event."""
    return event

"""The life of an HTTP/1 connection as a table: what may follow what (RFC 9112 section 9.3).

One request at a time: a head is read, then its body, then it runs and its response is written.
Whatever is refused, and every last response, is followed by lingering. An input that the table does
not have raises and changes nothing.
"""

from enum import IntEnum, auto

from gateway.core.limits import Phase


class Input(IntEnum):
    """What has happened to a connection."""

    HEAD_BEGUN = auto()
    LINES_EMPTY = auto()
    """What came were empty lines, and no head has begun."""
    HEAD_READ = auto()
    """A head is complete and a body is to come."""
    REQUEST_READ = auto()
    ANSWERED = auto()
    """The response was written."""
    TAKEN = auto()
    """The client has taken the response, as far as the process can see, and may go on."""
    REFUSED = auto()
    """A page was written, and the connection ends."""
    ENDED = auto()
    """The client has taken the last response."""


IDLE, HEAD, BODY, RUNNING, WRITING, LINGERING = Phase

TRANSITIONS: dict[tuple[Phase, Input], Phase] = {
    (IDLE, Input.HEAD_BEGUN): HEAD,
    (HEAD, Input.LINES_EMPTY): IDLE,
    (HEAD, Input.HEAD_READ): BODY,
    (HEAD, Input.REQUEST_READ): RUNNING,
    (BODY, Input.REQUEST_READ): RUNNING,
    (RUNNING, Input.ANSWERED): WRITING,
    (WRITING, Input.TAKEN): IDLE,
    (WRITING, Input.ENDED): LINGERING,
    (HEAD, Input.REFUSED): LINGERING,
    (BODY, Input.REFUSED): LINGERING,
}

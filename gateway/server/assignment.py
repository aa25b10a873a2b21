"""What a parent sends a worker before anything else, as bytes.

A dataclass goes by the names of its fields: a parent may have been started before the package on
the disk was replaced, and its workers are of the new version. A field that the parent does not know
has its default there, and one that the worker does not know is left out.
"""

import io
import marshal
import pickle
import sys
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from gateway.config.document import Document

LENGTH_BYTES = 4
"""Of the number before the assignment."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is to serve."""

    document: Document
    """The worker's share."""
    descriptors: tuple[int, ...]
    """The inherited sockets of the listeners."""
    is_successor: bool
    """Whether the worker replaces one that serves: it must not serve code whose init fails."""


def message(assignment: Assignment) -> bytes:
    """Return the parent's search path and an assignment, with their length before them; the path
    comes first, because with it the worker finds what the assignment is made of."""
    content = io.BytesIO()
    content.write(marshal.dumps(sys.path))
    ByName(content).dump(assignment)
    return len(content.getvalue()).to_bytes(LENGTH_BYTES) + content.getvalue()


class ByName(pickle.Pickler):
    """Writes dataclasses by the names of their fields; pickle writes those with slots by order."""

    def reducer_override(self, value: object, /) -> Any:
        """Return how a value is made again."""
        if isinstance(value, type) or not is_dataclass(value):
            return NotImplemented
        given = {one.name: getattr(value, one.name) for one in fields(value)}
        return made_again, (type(value), given)


def made_again(kind: type[Any], given: dict[str, object]) -> object:
    """Return a dataclass with the fields that it has among those given."""
    known = {one.name for one in fields(kind)}
    return kind(**{name: value for name, value in given.items() if name in known})

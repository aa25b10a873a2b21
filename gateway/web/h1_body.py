"""The body of one HTTP/1 request, read to its end within the limits."""

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.desync import CHUNKED
from gateway.core.errors import RequestTooLarge
from gateway.core.limits import CHUNKED_STEP, Progress, is_inflated
from gateway.wire.h1 import RequestParser, Unparsable


def too_large(size: int) -> RequestTooLarge:
    """Return the refusal of a body of this size or more."""
    return RequestTooLarge(f"body of {size} bytes or more, {REQUEST_BODY_LIMIT} allowed")


class Body:
    """Gives a parser the bytes of a body and counts them in `progress`."""

    __slots__ = ("_length", "_parser", "_progress")

    def __init__(self, parser: RequestParser, length: int, progress: Progress) -> None:
        """`length` may be CHUNKED; raises RequestTooLarge."""
        progress.began_at = progress.active_at
        progress.body_bytes = 0
        if length > REQUEST_BODY_LIMIT:
            raise too_large(length)
        self._parser = parser
        self._length = length
        self._progress = progress

    @property
    def most_bytes(self) -> int:
        """Return how large the body is, or may be at most."""
        return REQUEST_BODY_LIMIT if self._length == CHUNKED else self._length

    def read(self, data: bytes) -> bytes:
        """Return what follows the end of the body; raises RequestTooLarge and Unparsable."""
        parser = self._parser
        start = 0
        try:
            while start < len(data) and not parser.is_complete:
                start += self._feed(data, start)
        except Unparsable as error:
            if parser.body_bytes > REQUEST_BODY_LIMIT:
                raise too_large(parser.body_bytes) from error
            raise
        return data[start:]

    def _feed(self, data: bytes, start: int) -> int:
        """Give the parser the next piece of the body and return its size; raises Unparsable.

        A chunked body is looked at in steps, so that it does not matter in which pieces it comes.
        """
        parser, progress = self._parser, self._progress
        if self._length != CHUNKED:
            piece = data[start : start + self._length - progress.body_bytes]
            parser.feed_sized(piece)
            progress.body_bytes += len(piece)
            return len(piece)
        piece = data[start : start + CHUNKED_STEP - progress.body_bytes % CHUNKED_STEP]
        taken = len(piece) - len(parser.feed_chunked(piece))
        progress.body_bytes += taken
        if parser.body_bytes > REQUEST_BODY_LIMIT:
            raise Unparsable("more than is allowed")
        is_step = parser.is_complete or not progress.body_bytes % CHUNKED_STEP
        if is_step and is_inflated(progress.body_bytes, parser.body_bytes):
            raise Unparsable("chunk extensions or trailers over their limit")
        return taken

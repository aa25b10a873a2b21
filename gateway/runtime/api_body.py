"""The body of a request to the Runtime API: read in pieces, kept up to the limit, or dropped."""

from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.core.http import header
from gateway.wire.h1 import RequestParser, Unparsable

PIECE_BYTES = 64 * 1024
DENSE_BYTES = 4 * 1024
DENSE_LINES = 256
"""A piece of a chunked body with more lines than this is read in smaller pieces: chunks of one byte
cost a call each, and 4 KB of them 0.3 ms."""

SILENT_BYTES = 1024 * 1024 + 64 * 1024
"""Chunk extensions and trailers that may come without a byte of the body, as in a head."""


class BodyReader:
    """Reads one body; the parser keeps what is kept of it."""

    def __init__(self, parser: RequestParser, *, is_dropped: bool) -> None:
        """Note how the body ends: after a count of bytes, or with its last chunk."""
        length = header(parser.headers, b"content-length")
        self._parser = parser
        self._left = -1 if length is None else int(length)
        self._silent = 0
        """Bytes since the last one of the body."""
        self.is_dropped = is_dropped
        """Whether its request was answered by its head."""
        self.is_too_large = False

    def read(self, buffer: bytearray) -> bool:
        """Take a piece out of the buffer and say whether it was the last; of a body that is too
        large nothing is kept, and its end is waited for. Raises Unparsable."""
        parser = self._parser
        before = parser.body_bytes
        fed = self._feed(buffer)
        self._silent = 0 if parser.body_bytes > before else self._silent + fed
        if self._silent > SILENT_BYTES:
            raise Unparsable("more than 1 MiB beside the body")
        if parser.body_bytes > MAX_RESPONSE_BYTES:
            self.is_too_large = True
        if self.is_too_large or self.is_dropped:
            parser.take_body()
        return parser.is_complete

    def _feed(self, buffer: bytearray) -> int:
        """Give the parser a piece and return how large it was."""
        if self._left >= 0:
            piece = bytes(buffer[: min(self._left, PIECE_BYTES)])
            self._parser.feed_sized(piece)
            self._left -= len(piece)
            fed = len(piece)
        else:
            piece = bytes(buffer[:PIECE_BYTES])
            if piece.count(b"\n") > DENSE_LINES:
                piece = piece[:DENSE_BYTES]
            fed = len(piece) - len(self._parser.feed_chunked(piece))
        del buffer[:fed]
        return fed

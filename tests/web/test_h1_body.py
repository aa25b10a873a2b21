"""Bodies read to their end; what connections make of them: test_connection_limits.py."""

import pytest

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.desync import CHUNKED
from gateway.core.errors import RequestTooLarge
from gateway.core.limits import Limits, Progress
from gateway.web.h1_body import Body
from gateway.wire.h1 import RequestParser, Unparsable

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n"


def reading(field: bytes, length: int) -> tuple[RequestParser, Progress, Body]:
    parser, progress = RequestParser(Limits().header_fields), Progress()
    parser.feed_head(HEAD % field)
    return parser, progress, Body(parser, length, progress)


def test_what_follows_a_length_is_left() -> None:
    parser, progress, body = reading(b"Content-Length: 5", 5)

    assert body.read(b"he") == b""
    assert not parser.is_complete
    assert body.read(b"lloGET") == b"GET"
    assert parser.is_complete
    assert parser.take_body() == b"hello"
    assert progress.body_bytes == 5


def test_what_follows_the_last_chunk_is_left() -> None:
    parser, progress, body = reading(b"Transfer-Encoding: chunked", CHUNKED)

    assert body.read(b"2\r\nhe\r\n0\r\n\r\nGET") == b"GET"
    assert parser.take_body() == b"he"
    assert progress.body_bytes == len(b"2\r\nhe\r\n0\r\n\r\n")


def test_length_over_the_limit_is_refused_before_anything_is_read() -> None:
    with pytest.raises(RequestTooLarge, match="1048577 bytes"):
        reading(b"Content-Length: 1048577", REQUEST_BODY_LIMIT + 1)


def test_chunks_over_the_limit_are_refused() -> None:
    _, _, body = reading(b"Transfer-Encoding: chunked", CHUNKED)
    data = bytes(REQUEST_BODY_LIMIT + 1)

    with pytest.raises(RequestTooLarge):
        body.read(b"%x\r\n%b\r\n" % (len(data), data))


def test_chunks_that_cannot_be_read_are_refused() -> None:
    _, _, body = reading(b"Transfer-Encoding: chunked", CHUNKED)

    with pytest.raises(Unparsable):
        body.read(b"x\r\n")

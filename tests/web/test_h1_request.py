"""HTTP/1 requests as values."""

import pytest

from gateway.core.desync import CHUNKED, judge
from gateway.core.http import Tls
from gateway.web.h1_request import ConnectionInfo, declared_length, expects_continue, path_of

CLIENT, SERVER = ("198.51.100.7", 40111), ("192.0.2.1", 443)
TLS = Tls("TLSv1.3", "TLS_AES_256_GCM_SHA384")
ORIGIN = ConnectionInfo(CLIENT, SERVER, TLS, "c0")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"//a//", b"//a//", b""),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/a?", b"/a", b""),
        (b"/a#b?c", b"/a", b""),
        (b"/a?b#c", b"/a", b"b"),
        (b"/a?u=http://b/c", b"/a", b"u=http://b/c"),
        (b"/%2E./\xc3\xa4", b"/%2E./\xc3\xa4", b""),
        (b"*", b"/", b""),
        (b"no/slash", b"/no/slash", b""),
        (b"no?b", b"/no", b"b"),
        (b"?b", b"/", b"b"),
        (b"#b", b"/", b""),
        (b"", b"/", b""),
        (b"http://b", b"/", b""),
        (b"http://b/", b"/", b""),
        (b"HTTP://b/c?d", b"/c", b"d"),
        (b"http://b?d", b"/", b"d"),
        (b"http://b?d/e", b"/", b"d/e"),
        (b"http://b#c/d", b"/", b""),
        (b"http://b//c", b"//c", b""),
        (b"http://u:p@[::1]:80/c", b"/c", b""),
        (b"http:/b", b"/http:/b", b""),
    ],
)
def test_path_of_an_event_begins_with_a_slash(target: bytes, path: bytes, query: bytes) -> None:
    found, _, rest = path_of(target).partition(b"?")

    assert (found, rest) == (path, query)


def test_request_has_what_its_connection_has() -> None:
    request = ORIGIN.request("GET", b"/a?b", "1.1", [(b"X", b"y")], 12.0)

    assert (request.client, request.server, request.tls) == (CLIENT, SERVER, TLS)
    assert (request.scheme, request.connection_id, request.arrived_at) == ("https", "c0", 12.0)
    assert (request.raw_path, request.query_string) == (b"/a", b"b")
    assert (
        ConnectionInfo(CLIENT, SERVER, None, "").request("GET", b"/", "1.1", [], 0).scheme == "http"
    )


def test_of_a_refused_head_only_what_could_be_read_is_said() -> None:
    nothing = ORIGIN.unread(None, 1.0)
    unreadable = ORIGIN.unread(judge(b"GET /a http/1.1\r\nHost: a\r\n\r\n"), 1.0)
    readable = ORIGIN.unread(judge(b"GET /a?b HTTP/1.1\r\nX: \0\r\n\r\n"), 1.0)

    for request in (nothing, unreadable):
        assert (request.method, request.raw_path, request.http_version) == ("", b"", "")
        assert (request.connection_id, request.arrived_at) == ("c0", 1.0)
    assert unreadable.classification == "Severe BadVersion"
    assert unreadable.headers == [(b"Host", b"a")]
    assert (readable.method, readable.target, readable.http_version) == ("GET", b"/a?b", "1.1")
    assert (readable.raw_path, readable.query_string) == (b"/a", b"b")
    assert readable.classification == "Severe BadHeader"


@pytest.mark.parametrize(
    ("version", "value", "expected"),
    [
        ("1.1", b"100-continue", True),
        ("1.2", b"x, 100-Continue", True),
        ("1.0", b"100-continue", False),
        ("1.1", b"100-continued", False),
    ],
)
def test_clients_that_wait_for_100(version: str, value: bytes, expected: bool) -> None:
    assert expects_continue(version, [(b"Expect", value)]) is expected


def test_length_is_that_of_the_head_or_chunked() -> None:
    assert declared_length([]) == CHUNKED
    assert declared_length([(b"Content-Length", 5000 * b"0" + b"7")]) == 7
    assert declared_length([(b"content-length", b"000")]) == 0

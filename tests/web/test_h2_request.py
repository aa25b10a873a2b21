"""Pseudo-headers become a request like every other, and what no parser refused is refused here."""

from dataclasses import replace

import pytest

from gateway.core.http import HttpRequest, Tls
from gateway.core.limits import Limits
from gateway.web.h2_request import fault, head_bytes, oversized
from tests.web.h2_peer import GET, POST, H2Client, head
from tests.web.peer import CLIENT, SERVER, Serve

LIMITS = Limits()


def request(method: str = "GET", target: bytes = b"/", host: bytes = b"a") -> HttpRequest:
    return HttpRequest(method, target, target, b"", [(b"host", host)], http_version="2")


def test_request_is_told_as_it_was_sent(serve: Serve) -> None:
    world = serve()
    H2Client(world).ask(head(("x-a", "1"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-a", "2")))

    asked = world.asked
    assert (asked.method, asked.target, asked.raw_path) == ("GET", b"/a?b=c", b"/a")
    assert asked.query_string == b"b=c"
    assert asked.headers == [
        (b"host", b"a"),
        (b"x-a", b"1"),
        (b"cookie", b"a=b"),
        (b"cookie", b"c=d"),
        (b"x-a", b"2"),
    ]
    assert (asked.http_version, asked.scheme, asked.body) == ("2", "https", b"")
    assert (asked.client, asked.server) == (CLIENT, SERVER)
    assert asked.arrived_at == world.clock.now()
    written = b"GET /a?b=c HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in asked.headers)
    assert asked.received_bytes == len(written + b"\r\n")


@pytest.mark.parametrize("count", [1, 2])
def test_host_may_stand_for_authority_or_say_the_same(serve: Serve, count: int) -> None:
    world = serve()
    pseudo = [pair for pair in GET if count == 2 or pair[0] != ":authority"]
    H2Client(world).ask([*pseudo, ("x", "y"), ("host", "a")])

    assert world.asked.headers == [(b"host", b"a"), (b"x", b"y")]


@pytest.mark.parametrize(
    "headers",
    [
        head(path="a"),
        head(path="https://a/b"),
        head(path="/a b"),
        head(path="*"),
        head(authority="a b"),
        head(authority="user@a"),
        head(authority=""),
        head(method="CONNECT"),
        [(":method", "CONNECT"), (":authority", "a")],
        head(method="G T"),
        head(method=""),
        head(scheme="ftp", path="a"),
        head(scheme="ftp", path="*"),
        head(("host", "b")),
        head(("host", "a"), ("host", "a")),
        [(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]],
        [(":protocol", "websocket"), *GET],
        [pair for pair in GET if pair[0] != ":authority"],
        head(("content-length", "0"), ("content-length", "0")),
    ],
)
def test_invalid_request_is_refused_and_the_connection_goes_on(
    serve: Serve, headers: list[tuple[str, str]]
) -> None:
    world = serve()
    client = H2Client(world)
    stream = client.ask(headers)
    following = client.ask()

    refused = client.status(stream) if not client.reset(stream) else client.reset(stream)
    assert refused in (400, 1)  # a page, or PROTOCOL_ERROR from the parser
    assert client.status(following) == 200
    assert len(world.requests) == 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(), ""),
        (request("M-SEARCH"), ""),
        (request("OPTIONS", b"*"), ""),
        (request(target=b"/\xff#a"), ""),
        (request(host=b"[::1]:80"), ""),
        (request("CONNECT"), "CONNECT"),
        (request(target=b""), "path"),
        (request(target=b"*"), "path"),
        (request(target=b"a"), "path"),
        (request(target=b"/a b"), "path"),
        (request(target=b"/a\x7f"), "path"),
        (request(target=b"/a\n"), "path"),
        (request(host=b""), "authority"),
        (request(host=b"a/b"), "authority"),
        (replace(request(), headers=[]), "authority"),
        (replace(request(), headers=[(b"host", b"a"), (b"host", b"b")]), "authority"),
    ],
)
def test_fault_is_named(asked: HttpRequest, words: str) -> None:
    found = fault(asked)

    assert words in found
    assert bool(found) is bool(words)


@pytest.mark.parametrize("host", ["b", "a:80"])
def test_host_that_differs_from_authority_is_refused(serve: Serve, host: str) -> None:
    world = serve()
    client = H2Client(world)

    stream = client.ask(head(("x", "y"), ("host", host)))

    assert client.status(stream) == 400
    assert world.requests == []


def test_size_is_that_of_the_same_head_in_http1() -> None:
    headers = [(b"host", b"a"), (b"x", b"")]

    assert head_bytes(b"GET", b"/", headers) == len(b"GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n")


SMALL = replace(LIMITS, line_bytes=100, head_bytes=300)


def sized(target: int, *values: int) -> HttpRequest:
    """A request whose lines, CRLF and all, have these sizes."""
    path = b"/" + b"a" * (target - len("GET / HTTP/1.1\r\n"))
    asked = request(target=path, host=b"b" * (20 - len("host: \r\n")))
    asked.headers += [(b"x", b"c" * (size - len("x: \r\n"))) for size in values]
    asked.received_bytes = head_bytes(b"GET", path, asked.headers)
    return asked


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (sized(99), 0),
        (sized(100), 0),
        (sized(101), 414),
        (sized(50, 99), 0),
        (sized(50, 100), 0),
        (sized(50, 101), 400),
        (sized(100, 100, 77), 0),
        (sized(100, 100, 78), 0),
        (sized(100, 100, 79), 400),
    ],
)
def test_limits_are_exact(asked: HttpRequest, status: int) -> None:
    assert oversized(asked, SMALL) == status


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize("part", ["path", "field"])
def test_line_over_its_limit_is_refused_alone(serve: Serve, part: str, over: int) -> None:
    world = serve()
    client = H2Client(world)
    line = "GET / HTTP/1.1\r\n" if part == "path" else "x: \r\n"
    filler = "a" * (LIMITS.line_bytes + over - len(line))
    headers = head(path="/" + filler) if part == "path" else head(("x", filler), path="/")

    stream = client.ask(headers)

    refused = 414 if part == "path" else 400
    assert client.status(stream) == (refused if over > 0 else 200)
    assert client.status(client.ask()) == 200


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_fields_are_counted_and_a_stream_with_too_many_is_refused_alone(
    serve: Serve, over: int
) -> None:
    world = serve()
    client = H2Client(world)
    count = LIMITS.header_fields - 1 + over  # :authority is the Host field of the same request

    stream = client.ask(head(*[("x", "")] * count))

    assert client.status(stream) == (400 if over > 0 else 200)
    assert len(world.requests) == (over <= 0)
    assert client.status(client.ask()) == 200


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_head_over_64_kb_ends_the_connection(serve: Serve, over: int) -> None:
    """Counted as RFC 9113 section 6.5.2 says: 32 bytes for each field, pseudo-headers too."""
    world = serve()
    client = H2Client(world)
    headers = head(*[(f"x-{count}", "a" * 16_000) for count in range(4)])
    size = sum(len(name) + len(value) + 32 for name, value in headers)
    headers.append(("y", "b" * (LIMITS.head_bytes - size - 33 + over)))

    stream = client.ask(headers)

    if over > 0:
        assert (client.goaways, client.peer.is_closed) == ([(0xB, 0)], True)
    else:
        assert client.status(stream) == 200


def test_handshake_is_told(serve: Serve) -> None:
    world = serve()
    tls = Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "a.example")
    H2Client(world, tls=tls).ask()

    assert world.asked.tls is tls


def test_refused_head_of_a_post_needs_no_body(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)

    stream = client.ask(head(("host", "b"), of=POST), ends=False)

    assert client.status(stream) == 400
    assert world.requests == []
    assert world.noted[0][0] == 400

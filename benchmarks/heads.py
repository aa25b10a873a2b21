"""The requests that both benchmarks send: the same names and values at 2, 12 and 40 headers."""

Pairs = list[tuple[bytes, bytes]]

TARGET = b"/any/path?x=1"

SMALL: Pairs = [(b"Host", b"127.0.0.1"), (b"Accept", b"*/*")]

BROWSER: Pairs = [
    (b"Host", b"shop.example.org"),
    (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"Accept-Language", b"en-GB,en;q=0.7,de;q=0.3"),
    (b"Accept-Encoding", b"gzip, deflate, br, zstd"),
    (b"Cookie", b"session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes"),
    (b"Referer", b"https://shop.example.org/any/other/path"),
    (b"Sec-Fetch-Dest", b"document"),
    (b"Sec-Fetch-Mode", b"navigate"),
    (b"Sec-Fetch-Site", b"same-origin"),
    (b"Upgrade-Insecure-Requests", b"1"),
    (b"Priority", b"u=0, i"),
]

FORTY: Pairs = BROWSER + [(b"X-Header-%02d" % n, b"value number %d" % n) for n in range(28)]

HEADS: dict[int, Pairs] = {2: SMALL, 12: BROWSER, 40: FORTY}


def request_bytes(count: int) -> bytes:
    """Return a GET with this many headers as a client writes it."""
    lines = [name + b": " + value for name, value in HEADS[count]]
    return b"\r\n".join([b"GET " + TARGET + b" HTTP/1.1", *lines, b"", b""])

"""The way through a proxy: requests in absolute form, tunnels for TLS, and what the environment
says, with a tiny proxy on loopback."""

import asyncio
import traceback
from base64 import b64encode
from collections.abc import Awaitable, Callable

import pytest

from gateway.core.errors import InvalidSetting
from gateway.telemetry.system import turns_of_the_loop
from gateway.wire.client import Peer, PeerSettings, Unreachable, environment_proxy
from gateway.wire.client_proxy import Proxy, proxy_of
from tests.wire.origin import (  # noqa: F401 - the event loops
    HOST,
    OK,
    SHORT_SECONDS,
    Origin,
    Visit,
    answering,
    anyio_backend,
    check_nothing_is_left,
    exchange,
    open_files,
    serving,
    soon,
    until,
)
from tests.wire.test_client_tls import certified, trusting

BASIC = b64encode(b"me:p@ss")
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def url_of(proxy: Origin) -> str:
    return f"http://me:p%40ss@{HOST}:{proxy.port}"


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until there are no more."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def tunnelling(answer: bytes = OPENED) -> Callable[[Origin, Visit], Awaitable[None]]:
    """Return the script of a proxy that opens tunnels, to loopback whatever the name."""

    async def script(proxy: Origin, visit: Visit) -> None:
        head, _ = await visit.request()
        proxy.requests.append((head, b""))
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            visit.send(answer)
            await asyncio.gather(pump(visit.reader, writer), pump(reader, visit.writer))
        finally:
            writer.transport.abort()

    return script


# Plain HTTP.


async def test_proxy_gets_the_absolute_form_and_its_credentials() -> None:
    async with serving(answering) as proxy:
        settings = PeerSettings(proxy=url_of(proxy))
        async with Peer("http", "shop.example", 8080, settings) as peer:
            await exchange(peer)
            await exchange(peer)

    (head, _), _ = proxy.requests
    assert head == (
        b"POST http://shop.example:8080/a HTTP/1.1\r\nHost: shop.example:8080\r\n"
        b"Proxy-Authorization: Basic " + BASIC + b"\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n"
    )
    assert len(proxy.visits) == 1


# TLS.


async def test_tls_goes_through_a_tunnel_that_is_used_again() -> None:
    async with (
        serving(answering, tls=certified("shop.example")) as origin,
        serving(tunnelling()) as proxy,
    ):
        settings = PeerSettings(proxy=url_of(proxy), tls=trusting())
        async with Peer("https", "shop.example", origin.port, settings) as peer:
            replies = [await exchange(peer, b"." * 300_000), await exchange(peer)]
        check_nothing_is_left(peer)

    assert [reply.body for reply in replies] == [b"ok", b"ok"]
    (connect,) = (head for head, _ in proxy.requests)
    name = b"shop.example:%d" % origin.port
    assert connect == (
        b"CONNECT " + name + b" HTTP/1.1\r\nHost: " + name + b"\r\n"
        b"Proxy-Authorization: Basic " + BASIC + b"\r\n\r\n"
    )
    assert all(b"authorization" not in head.lower() for head, _ in origin.requests)


async def test_certificate_of_the_origin_is_verified_through_a_tunnel() -> None:
    async with (
        serving(answering, tls=certified("other.example")) as origin,
        serving(tunnelling()) as proxy,
    ):
        settings = PeerSettings(proxy=url_of(proxy), tls=trusting())
        async with Peer("https", "shop.example", origin.port, settings) as peer:
            with pytest.raises(Unreachable, match="certificate of shop"):
                await exchange(peer)
        check_nothing_is_left(peer)

    assert origin.requests == []


async def test_head_of_the_tunnel_may_come_in_pieces_behind_a_hint() -> None:
    async def script(proxy: Origin, visit: Visit) -> None:
        await visit.request()
        for byte in b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n":
            visit.send(bytes([byte]))
            await visit.writer.drain()
            await turns_of_the_loop(1)
        greeted.append(await visit.reader.read(1))

    greeted: list[bytes] = []
    async with serving(script) as proxy:
        settings = PeerSettings(proxy=url_of(proxy), tls=trusting())
        async with Peer("https", "shop.example", 443, settings) as peer:
            with pytest.raises(Unreachable):
                await exchange(peer)

    assert greeted == [b"\x16"], "no TLS handshake began"


def refusing(*pieces: bytes, then: str = "") -> Callable[[Origin, Visit], Awaitable[None]]:
    async def script(proxy: Origin, visit: Visit) -> None:
        await proxy.answer(visit, *pieces)
        if then:
            getattr(visit, then)()
        else:
            await visit.gone()

    return script


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (refusing(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"), "the proxy answered 407"),
        (
            refusing(b"HTTP/1.1 502 No\r\nContent-Length: 2\r\n\r\nno"),
            "the proxy answered 502",
        ),
        (refusing(b"HTTP/1.1 302 No\r\nLocation: /\r\n\r\n"), "the proxy answered 302"),
        (refusing(b"SSH-2.0\r\n"), "not HTTP/1.1"),
        (refusing(then="close"), "the proxy closed"),
        (refusing(then="reset"), "the proxy closed"),
        (refusing(b"HTTP/1.1 200 OK\r\n", then="close"), "the proxy closed"),
        (refusing(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 50_000), "the proxy closed"),
        (refusing(OPENED + b"HTTP/1.1 200 OK\r\n"), "the proxy closed"),
        (refusing(OPENED, then="close"), "the proxy closed|no connection"),
        (refusing(OPENED, OK), "the proxy closed|no connection"),
    ],
)
async def test_tunnel_that_is_not_opened_is_unreachable_and_leaves_nothing(
    script: Callable[[Origin, Visit], Awaitable[None]], reason: str
) -> None:
    async with serving(script) as proxy:
        before = open_files()
        settings = PeerSettings(proxy=url_of(proxy), tls=trusting(), connections=1)
        async with Peer("https", "shop.example", 443, settings) as peer:
            for _ in range(2):
                with pytest.raises(Unreachable, match=reason) as caught:
                    await exchange(peer)

                assert "p@ss" not in str(caught.value)
                assert "p%40ss" not in str(caught.value)
        await until(lambda: proxy.open == 0)
        await until(lambda: open_files() <= before)

    check_nothing_is_left(peer)


async def test_proxy_that_says_nothing_is_left_at_the_deadline() -> None:
    async with serving(refusing()) as proxy:
        before = open_files()
        settings = PeerSettings(proxy=url_of(proxy), tls=trusting())
        async with Peer("https", "shop.example", 443, settings) as peer:
            with pytest.raises(Unreachable, match="in time"):
                await exchange(peer, seconds=SHORT_SECONDS)
        await until(lambda: proxy.open == 0)
        await until(lambda: open_files() <= before)

    check_nothing_is_left(peer)


@pytest.mark.parametrize("turns", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
async def test_cancelled_tunnel_leaves_nothing(turns: int) -> None:
    async with (
        serving(answering, tls=certified("shop.example")) as origin,
        serving(tunnelling()) as proxy,
    ):
        before = open_files()
        settings = PeerSettings(proxy=url_of(proxy), tls=trusting(), connections=1)
        async with Peer("https", "shop.example", origin.port, settings) as peer:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(exchange(peer))
                await turns_of_the_loop(turns)
                task.cancel()

            assert (await exchange(peer)).body == b"ok"
        await until(lambda: proxy.open == origin.open == 0)
        await until(lambda: open_files() <= before)

    check_nothing_is_left(peer)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "::ffff:169.254.169.254"])
async def test_proxy_is_not_asked_for_metadata(scheme: str, host: str) -> None:
    async with serving(answering) as proxy:
        settings = PeerSettings(proxy=url_of(proxy), tls=trusting())
        async with Peer(scheme, host, 80, settings) as peer:
            with pytest.raises(Unreachable, match="not allowed"):
                await exchange(peer)

        allowed = PeerSettings(proxy=url_of(proxy), allowed_hosts=frozenset({host}))
        async with Peer("http", host, 80, allowed) as peer:
            reply = await exchange(peer)

    assert reply.body == b"ok"
    assert len(proxy.visits) == 1


async def test_proxy_that_is_a_metadata_address_is_not_used() -> None:
    settings = PeerSettings(proxy="http://169.254.169.254:3128")
    async with Peer("http", "shop.example", 80, settings) as peer:
        with pytest.raises(Unreachable, match="metadata address"):
            await peer.exchange(b"GET", b"/", [], b"", deadline=soon())

    check_nothing_is_left(peer)


# Settings.


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128)),
        ("proxy.example:3128", Proxy("proxy.example", 3128)),
        ("http://proxy.example", Proxy("proxy.example", 80)),
        ("http://[::1]:3128/", Proxy("::1", 3128)),
        (
            "http://me:p%40ss@a:1",
            Proxy("a", 1, b"Proxy-Authorization: Basic " + BASIC + b"\r\n"),
        ),
        ("http://me@a:1", Proxy("a", 1, b"Proxy-Authorization: Basic bWU6\r\n")),
    ],
)
def test_proxy_is_read_from_its_url(url: str, proxy: Proxy) -> None:
    assert proxy_of(url) == proxy


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@a:1",
        "socks5://me:secret@a:1",
        "http://me:secret@",
        "http://me:secret@a:port",
        "http://me:secret/x@a:1",
        "http://me:secret@[::1:1",
    ],
)
def test_url_that_names_no_http_proxy_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InvalidSetting, match="HOST:PORT") as caught:
        proxy_of(url)

    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_credentials_are_not_shown() -> None:
    assert "Basic" not in repr(proxy_of("http://me:secret@a:1"))


A, B = "http://a:1", "http://b:2"


@pytest.mark.parametrize(
    ("variables", "scheme", "host", "expected"),
    [
        ({}, "http", "shop.example", None),
        ({"HTTP_PROXY": A}, "http", "shop.example", A),
        ({"HTTP_PROXY": A}, "https", "shop.example", None),
        ({"HTTPS_PROXY": A}, "https", "shop.example", A),
        ({"https_proxy": B, "HTTPS_PROXY": A}, "https", "shop.example", B),
        ({"ALL_PROXY": A}, "https", "shop.example", A),
        ({"HTTP_PROXY": A, "NO_PROXY": "example"}, "http", "shop.example", None),
        ({"HTTP_PROXY": A, "NO_PROXY": ".shop.example"}, "http", "shop.example", None),
        ({"HTTP_PROXY": A, "NO_PROXY": "shop.example:80"}, "http", "shop.example", None),
        ({"HTTP_PROXY": A, "NO_PROXY": "shop.example:81"}, "http", "shop.example", A),
        ({"HTTP_PROXY": A, "NO_PROXY": "other"}, "http", "shop.example", A),
        ({"HTTP_PROXY": A, "NO_PROXY": "*"}, "http", "shop.example", None),
        ({"HTTP_PROXY": A}, "http", "localhost", None),
        ({"HTTP_PROXY": A}, "http", "127.0.0.1", None),
        ({"HTTP_PROXY": A}, "http", "::1", None),
    ],
)
def test_environment_says_which_proxy(
    variables: dict[str, str],
    scheme: str,
    host: str,
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert environment_proxy(scheme, host, 80) == expected

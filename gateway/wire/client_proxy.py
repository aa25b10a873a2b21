"""The way through an HTTP proxy: its address, its credentials, and tunnels for TLS.

The proxy looks up the name of an origin, so of that only a written-out address can be checked here.
"""

import asyncio
from base64 import b64encode
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

import httptools

from gateway.core.errors import InvalidSetting
from gateway.wire.addresses import literal
from gateway.wire.client_connection import HEAD_BYTES, Unreachable

DEFAULT_PORT = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens and what it wants to see."""

    host: str
    port: int
    authorization: bytes = field(default=b"", repr=False)
    """The line of `Proxy-Authorization` with its CRLF, or nothing."""


def proxy_of(url: str) -> Proxy:
    """Return the proxy that a URL names; raises InvalidSetting, without the credentials in it."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:  # its text may hold a piece of the password
        raise InvalidSetting("the proxy's URL is not valid; it must be http://HOST:PORT") from None
    if parts.scheme != "http" or not host:
        raise InvalidSetting(
            f"the proxy's URL begins {parts.scheme}:// but must be http://HOST:PORT"
        )
    return Proxy(host, port or DEFAULT_PORT, _authorization(parts.username, parts.password))


def _authorization(user: str | None, password: str | None) -> bytes:
    """Return the header line of Basic authentication (RFC 7617), or nothing."""
    if user is None:
        return b""
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password or "")
    return b"Proxy-Authorization: Basic " + b64encode(pair) + b"\r\n"


def environment_proxy(scheme: str, host: str, port: int) -> str | None:
    """Return the URL of the proxy that `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY` and `NO_PROXY`
    name for an origin, or None; loopback never has one."""
    address = literal(host)
    if host.lower() == "localhost" or (address is not None and address.is_loopback):
        return None
    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    return None if not url or proxy_bypass(f"{host}:{port}") else url


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel (RFC 9110 section 9.3.6); `opened` is done when it is there.

    The transport then belongs to the next protocol; bytes that the origin sends first end it.
    """

    _transport: asyncio.Transport

    def __init__(self, authority: bytes, authorization: bytes) -> None:
        self._request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            authority,
            authority,
            authorization,
        )
        self._parser = httptools.HttpResponseParser(self)
        self._received = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the tunnel."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Read the head of the response."""
        self._received += len(data)
        if self.opened.done() or self._received > HEAD_BYTES:
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the proxy's response is not HTTP/1.1: {error}")

    def on_headers_complete(self) -> None:
        """Judge the status; called by the parser."""
        status = self._parser.get_status_code()
        if 200 <= status < 300 and not self.opened.done():
            self.opened.set_result(None)
        elif status >= 300:
            self._fail(f"the proxy answered {status}")

    def on_body(self, _body: bytes) -> None:
        """End a tunnel through which the far side speaks first; called by the parser."""
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail if the tunnel is not there yet."""
        self._fail(f"the proxy closed the connection{f': {error}' if error else ''}")

    def _fail(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(Unreachable(reason))

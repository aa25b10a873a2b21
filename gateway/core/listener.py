"""Scheme, port and DNS name of a listener, and what the Host header becomes behind it (alb.md
1.7)."""

import re
from dataclasses import dataclass

from gateway.core.errors import InvalidSetting

DEFAULT_PORTS = {"http": 80, "https": 443}

IP_OR_LOCALHOST = re.compile(r"localhost|\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\]", re.ASCII)
AUTHORITY_END = re.compile(rb"[/?#]")
LISTENER_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?/?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """The listener as events show it."""

    scheme: str
    port: int
    dns_name: str
    """The load balancer's own name: ALB makes it the Host of an HTTP/1.0 request that has none."""
    replaces_local_host: bool = False
    """With `--as`: a Host that names no domain (an IP address, localhost) becomes `dns_name`."""

    def host(self, received: str, *, is_absolute: bool = False) -> str:
        """Return the Host that the target sees: lower case, no port on 80 and 443.

        Elsewhere a missing port is added, but not to the authority of an absolute-form target.
        """
        name, port = split_port(received.lower())
        if self.replaces_local_host and IP_OR_LOCALHOST.fullmatch(name):
            name, port = self.dns_name, ""
        if self.port in {80, 443}:
            return name
        if is_absolute and not port:
            return name
        return f"{name}:{port or self.port}"


def split_port(authority: str) -> tuple[str, str]:
    """Return host and port of `host:port`; the port may be empty, an IPv6 host keeps its
    brackets."""
    if authority.endswith("]"):
        return authority, ""
    name, colon, port = authority.rpartition(":")
    return (name, port) if colon else (authority, "")


def authority(target: bytes) -> bytes:
    """Return the authority of an absolute-form target, without user information (RFC 9112
    3.2.2)."""
    return AUTHORITY_END.split(target.partition(b"://")[2], maxsplit=1)[0].rpartition(b"@")[2]


def listener_address(url: str) -> ListenerAddress:
    """Return the listener that a URL names; raises InvalidSetting."""
    matched = LISTENER_URL.fullmatch(url)
    if matched is None:
        raise InvalidSetting(
            f"{url!r} is not a listener; write it like https://shop.example.org:443"
        )
    scheme = matched["scheme"]
    port = int(matched["port"] or DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65535:
        raise InvalidSetting(f"port {port} of {url!r} is not between 1 and 65535")
    return ListenerAddress(scheme, port, matched["host"].lower(), replaces_local_host=True)

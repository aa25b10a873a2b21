"""Which addresses the client may connect to: none that only the machine itself can answer for.

A name is resolved once, every address is checked, and the checked address is what gets connected
to, so that a second answer of the name server changes nothing (reliability.md 2.6). Loopback and
private addresses are allowed: emulators and containers live there, and only an operator names them.
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from gateway.wire.client_connection import Unreachable

Address = tuple[str, int]

FORBIDDEN = [
    ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local: instance metadata, container and pod credentials
        "fe80::/10",  # link-local
        "fd00:ec2::/32",  # AWS's services on an instance: metadata ::254, pod credentials ::23
        "fd20:ce::254/128",  # Google Cloud's metadata
        "100.100.100.200/32",  # Alibaba Cloud's metadata
        "168.63.129.16/32",  # Azure's platform
        "192.0.0.192/32",  # Oracle Cloud's metadata
    )
]

IPV4_TAILS = [
    ip_network("::/96"),  # IPv4-compatible, RFC 4291 section 2.5.5.1
    ip_network("::ffff:0:0/96"),  # IPv4-mapped, RFC 4291 section 2.5.5.2
    ip_network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765 section 2.1
    ip_network("64:ff9b::/96"),  # NAT64, RFC 6052
    ip_network("64:ff9b:1::/48"),  # NAT64 of one's own, RFC 8215
]
"""IPv6 networks whose last four bytes are an IPv4 address."""


def is_forbidden(address: IPv4Address | IPv6Address) -> bool:
    """Say whether an address is link-local or serves metadata, in whatever form it is written."""
    return any(form in network for form in forms(address) for network in FORBIDDEN)


def forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return an address and the IPv4 address that is in it, if one is."""
    if isinstance(address, IPv4Address):
        return [address]
    if any(address in network for network in IPV4_TAILS):
        return [address, IPv4Address(int(address) & 0xFFFFFFFF)]
    inside = address.sixtofour
    return [address] if inside is None else [address, inside]


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is, also as `2852039166` or `0xa9.254.169.254`, or None for a
    name."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def check_literal(host: str) -> None:
    """Raise Unreachable for a host that is a forbidden address; a name is let through."""
    address = literal(host)
    if address is not None and is_forbidden(address):
        raise Unreachable(f"{host} is a link-local or metadata address, which is not allowed")


async def addresses_of(host: str, port: int, *, is_allowed: bool) -> list[Address]:
    """Return the addresses of a host, looked up now; raises Unreachable if one is forbidden, or
    without one."""
    address = literal(host)
    if address is not None:
        found = [(str(address), port)]
    else:
        found = await _looked_up(host, port)
    for text, _ in found:
        if not is_allowed and is_forbidden(ip_address(text)):
            raise Unreachable(f"{host} is at {text}, a link-local or metadata address")
    return found


async def _looked_up(host: str, port: int) -> list[Address]:
    """Return what the name server says, each address once."""
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
        raise Unreachable(f"{host} has no address: {error}") from error
    return list(dict.fromkeys((str(answer[4][0]), port) for answer in answers))

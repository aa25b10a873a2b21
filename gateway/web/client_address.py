"""The address of a client, as the event and the access log show it."""

import asyncio


def address(name: tuple[str, int] | str | None) -> tuple[str, int]:
    """Return host and port of a socket name; a Unix socket has none.

    An IPv4 client of a socket for both families keeps its own address, IPv6 loses its zone.
    """
    if not isinstance(name, tuple):
        return "127.0.0.1", 0
    host = name[0].partition("%")[0]
    return host.removeprefix("::ffff:") if "." in host else host, name[1]


def is_unknown(transport: asyncio.BaseTransport) -> bool:
    """Say whether a client has gone before it was accepted: the system has forgotten its address,
    and it must not get another one, least of all our own.

    On a Unix socket, whose name is a path, clients have no address.
    """
    is_named = bool(transport.get_extra_info("peername"))
    return not is_named and isinstance(transport.get_extra_info("sockname"), tuple)

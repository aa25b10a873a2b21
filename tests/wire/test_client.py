"""The client: what it sends and what it never sends, connecting and closing, on loopback."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.core.http import Headers
from gateway.telemetry.system import turns_of_the_loop
from gateway.wire.addresses import Address
from gateway.wire.client import (
    DeadlineExceeded,
    Interrupted,
    Peer,
    PeerSettings,
    Reply,
    Unreachable,
)
from gateway.wire.client_connection import Connection
from tests.wire.origin import (  # noqa: F401 - the event loops
    HOST,
    OK,
    SHORT_SECONDS,
    Held,
    Origin,
    Visit,
    answering,
    anyio_backend,
    check_nothing_is_left,
    exchange,
    open_files,
    sending,
    serving,
    soon,
    spoken_to,
    until,
)


@contextmanager
def silent_port() -> Iterator[int]:
    """Give a port on which no server listens."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]


# The request.


async def test_request_says_where_to_and_how_long_it_is() -> None:
    async with serving(answering) as origin, spoken_to(origin) as peer:
        headers = [(b"X-Ab", b"1"), (b"x-ab", b"\xe4 2"), (b"Empty", b"")]
        await peer.exchange(b"POST", b"/a%2F?b=c", headers, b"body", deadline=soon())
        await peer.exchange(b"POST", b"/", [], b"", deadline=soon())
        await peer.exchange(b"GET", b"/", [], b"", deadline=soon())

    host = b"Host: 127.0.0.1:%d\r\n" % origin.port
    length = b"Content-Length: 4\r\n"
    fields = b"X-Ab: 1\r\nx-ab: \xe4 2\r\nEmpty: \r\n"
    assert origin.requests == [
        (b"POST /a%2F?b=c HTTP/1.1\r\n" + host + fields + length + b"\r\n", b"body"),
        (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n" + host + b"\r\n", b""),
    ]


@pytest.mark.parametrize(
    ("scheme", "host", "port", "authority"),
    [
        ("http", "example.org", 80, b"example.org"),
        ("http", "example.org", 443, b"example.org:443"),
        ("https", "example.org", 443, b"example.org"),
        ("https", "example.org", 8443, b"example.org:8443"),
        ("http", "::1", 8080, b"[::1]:8080"),
    ],
)
def test_authority_has_the_port_only_where_the_scheme_does_not_say_it(
    scheme: str, host: str, port: int, authority: bytes
) -> None:
    assert Peer(scheme, host, port).authority == authority


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"POST", b"/a b", []),
        (b"POST", b"/a\r\nX: 1", []),
        (b"POST", b"", []),
        (b"POST", b"/\xe4", []),
        (b"PO ST", b"/", []),
        (b"", b"/", []),
        (b"HEAD", b"/", []),
        (b"CONNECT", b"a:1", []),
        (b"POST", b"/", [(b"X-A", b"1\r\nX-B: 2")]),
        (b"POST", b"/", [(b"X-A", b"1\nX-B: 2")]),
        (b"POST", b"/", [(b"X-A", b"1\r")]),
        (b"POST", b"/", [(b"X-A", b"1\0")]),
        (b"POST", b"/", [(b"X-A\r\nX-B", b"1")]),
        (b"POST", b"/", [(b"X-A", b"1"), (b"host", b"a")]),
        (b"POST", b"/", [(b"Content-Length", b"1")]),
        (b"POST", b"/", [(b"TRANSFER-ENCODING", b"chunked")]),
        (b"POST", b"/", [(b"Transfer-Encoding ", b"chunked")]),
        (b"POST", b"/", [(b"Connection", b"close")]),
    ],
)
async def test_what_would_be_read_as_another_request_is_not_sent(
    method: bytes, target: bytes, headers: Headers
) -> None:
    async with serving(answering) as origin, spoken_to(origin) as peer:
        with pytest.raises(ValueError, match="cannot be sent"):
            await peer.exchange(method, target, headers, b"", deadline=soon())

    assert origin.visits == []


# Never sent.


async def test_refused_connection_is_unreachable_and_frees_its_place() -> None:
    with silent_port() as port:
        peer = Peer("http", HOST, port, PeerSettings(connections=1))
        async with peer:
            for _ in range(3):
                with pytest.raises(Unreachable, match=r"no connection to 127\.0\.0\.1"):
                    await exchange(peer)

    check_nothing_is_left(peer)


async def test_deadline_in_the_past_sends_nothing() -> None:
    async with serving(answering) as origin, spoken_to(origin) as peer:
        await exchange(peer)
        with pytest.raises(Unreachable, match="passed before") as caught:
            await exchange(peer, seconds=0)
        assert isinstance(caught.value.__cause__, TimeoutError)

    assert len(origin.requests) == 1


async def test_malformed_name_is_unreachable() -> None:
    async with Peer("http", "a" * 64 + ".example", 80) as peer:
        with pytest.raises(Unreachable, match="has no address"):
            await exchange(peer)

    check_nothing_is_left(peer)


async def test_peer_that_is_left_is_unreachable() -> None:
    async with serving(answering) as origin:
        async with spoken_to(origin) as peer:
            await exchange(peer)
        with pytest.raises(Unreachable, match="no longer used"):
            await exchange(peer)

    assert len(origin.requests) == 1


class Stuck(Peer):
    """A Peer whose first address answers nothing."""

    def __init__(self, port: int, settings: PeerSettings) -> None:
        super().__init__("http", HOST, port, settings)
        self.tried: list[Address] = []

    async def _open_at(self, address: Address) -> Connection:
        self.tried.append(address)
        if len(self.tried) == 1:
            await asyncio.Event().wait()
        return await super()._open_at(address)


async def test_connection_that_takes_too_long_is_given_up() -> None:
    async with serving(answering) as origin:
        peer = Stuck(origin.port, PeerSettings(connect_seconds=SHORT_SECONDS))
        async with peer:
            with pytest.raises(Unreachable, match="in time") as caught:
                await exchange(peer)
            assert isinstance(caught.value.__cause__, TimeoutError)

    check_nothing_is_left(peer)
    assert origin.visits == []


async def test_deadline_ends_connecting_too() -> None:
    async with serving(answering) as origin, Stuck(origin.port, PeerSettings()) as peer:
        with pytest.raises(Unreachable, match="in time") as caught:
            await exchange(peer, seconds=SHORT_SECONDS)
        assert isinstance(caught.value.__cause__, TimeoutError)

    assert origin.visits == []


async def test_address_that_answers_nothing_takes_only_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(answering) as origin:

        async def many(_host: str, port: int, *, is_allowed: bool) -> list[Address]:
            return [("127.0.0.2", port)] + [(HOST, port)] * 39

        monkeypatch.setattr("gateway.wire.client.addresses_of", many)
        async with Stuck(origin.port, PeerSettings(connect_seconds=4.0)) as peer:
            reply = await exchange(peer)

    assert reply.body == b"ok"
    assert peer.tried == [("127.0.0.2", origin.port), (HOST, origin.port)]


# Cancelling.


async def test_cancelling_while_connecting_frees_the_place() -> None:
    async with (
        serving(answering) as origin,
        Stuck(origin.port, PeerSettings(connections=1)) as peer,
    ):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(exchange(peer))
            await until(lambda: peer.tried)
            task.cancel()

        assert (await exchange(peer)).body == b"ok"


@pytest.mark.parametrize("turns", range(8))
async def test_cancelling_at_any_turn_leaves_no_descriptor(turns: int) -> None:
    async with serving(answering) as origin:
        before = open_files()
        async with spoken_to(origin, connections=1) as peer:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(exchange(peer))
                await turns_of_the_loop(turns)
                task.cancel()

            assert (await exchange(peer)).body == b"ok"
        await until(lambda: origin.open == 0)
        await until(lambda: open_files() <= before)


# Closing.


async def test_leaving_ends_idle_busy_and_waiting() -> None:
    held = Held()
    async with serving(held) as origin:
        before = open_files()
        async with spoken_to(origin, connections=2) as peer:
            idle = asyncio.gather(exchange(peer, b"idle"))
            await held.came(1)
            busy = asyncio.gather(exchange(peer, b"busy"), return_exceptions=True)
            await held.came(2)
            held.answer()
            await idle
            busy_too = asyncio.gather(exchange(peer, b"busy too"), return_exceptions=True)
            await held.came(3)
            waiting = asyncio.gather(exchange(peer, b"waiting"), return_exceptions=True)
            await until(lambda: peer._waiting)
        outcomes = [(await outcome)[0] for outcome in (busy, busy_too, waiting)]
        await until(lambda: origin.open == 0)
        await until(lambda: open_files() <= before)

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Interrupted, Interrupted, Unreachable]
    assert held.bodies == [b"idle", b"busy", b"busy too"]


async def test_leaving_closes_idle_connections_politely() -> None:
    ends: list[bytes] = []

    async def script(origin: Origin, visit: Visit) -> None:
        await origin.answer(visit, OK)
        ends.append(await visit.reader.read())

    async with serving(script) as origin:
        async with spoken_to(origin) as peer:
            await exchange(peer)
        await until(lambda: ends)

    assert ends == [b""]


async def test_connection_that_is_made_after_the_peer_was_left_is_closed() -> None:
    async with serving(answering) as origin:
        peer = Stuck(origin.port, PeerSettings())
        peer.tried.append(("", 0))  # nothing is stuck
        async with peer:
            late = asyncio.gather(exchange(peer), return_exceptions=True)
            await until(lambda: len(peer.tried) == 2)
        (outcome,) = await late
        await until(lambda: origin.open == 0)

    assert isinstance(outcome, Unreachable)
    check_nothing_is_left(peer)


async def test_many_exchanges_of_all_kinds_leave_nothing() -> None:
    async def script(origin: Origin, visit: Visit) -> None:
        while True:
            _, body = await origin.answer(visit)
            match body:
                case b"reset":
                    visit.reset()
                case b"close":
                    visit.send(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    visit.close()
                case b"silent":
                    await visit.gone()
                case _:
                    visit.send(OK)

    kinds = [b"good", b"reset", b"close", b"good", b"silent"]
    async with serving(script) as origin:
        before = open_files()
        async with spoken_to(origin, connections=5) as peer:
            outcomes = await asyncio.gather(
                *(
                    exchange(peer, kind, seconds=0.15 if kind == b"silent" else 20)
                    for kind in kinds * 20
                ),
                return_exceptions=True,
            )
        await until(lambda: origin.open == 0)
        await until(lambda: open_files() <= before)

    by_kind = {kind: outcomes[number :: len(kinds)] for number, kind in enumerate(kinds)}
    assert {type(outcome) for outcome in by_kind[b"reset"]} == {Interrupted}
    assert {type(outcome) for outcome in by_kind[b"silent"]} <= {DeadlineExceeded, Unreachable}
    assert {type(outcome) for outcome in by_kind[b"close"] + by_kind[b"good"]} == {Reply}
    assert origin.most_open <= 5


async def test_redirect_is_an_answer_like_any_other() -> None:
    moved = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"
    async with serving(sending(moved)) as origin, spoken_to(origin) as peer:
        reply = await exchange(peer)

    assert (reply.status, len(origin.requests)) == (307, 1)

"""Responses of every form and every failure of a connection, from a real server on loopback."""

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from gateway.wire import client_connection
from gateway.wire.client import (
    Interrupted,
    Peer,
    PeerSettings,
    Reply,
    ReplyTooLarge,
)
from gateway.wire.client_connection import Connection
from tests.wire.client_fakes import LIMIT, FakeOwner, FakeTransport
from tests.wire.origin import (  # noqa: F401 - the event loops
    DEADLINE_SECONDS,
    HOST,
    OK,
    SHORT_SECONDS,
    Origin,
    Visit,
    answering,
    anyio_backend,
    exchange,
    sending,
    serving,
    soon,
    spoken_to,
    until,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nX-B: 2\r\n\r\n"


def sized(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join(
        [b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % len(body), b"", body]
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# Whole responses.


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (OK, 200, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b""),
        (b"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", 302, b""),
        (b"HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\n.", 503, b"."),
        (CHUNKED + b"0\r\n\r\n", 200, b""),
        (CHUNKED + chunk(b"ab") + chunk(b"c") + b"0\r\nX-T: 1\r\n\r\n", 200, b"abc"),
        (b"HTTP/1.1 100 Continue\r\nX-Gone: 1\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + OK, 200, b"ok"),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    ],
)
async def test_response_is_read_and_the_connection_used_again(
    response: bytes, status: int, body: bytes
) -> None:
    async with serving(sending(response)) as origin, spoken_to(origin) as peer:
        replies = [await exchange(peer), await exchange(peer)]

    assert [(reply.status, reply.body) for reply in replies] == [(status, body)] * 2
    assert len(origin.visits) == 1


@pytest.mark.parametrize("hint", [b"", b"HTTP/1.1 103 Early\r\nX-Early: 1\r\n\r\n"])
async def test_headers_come_as_they_were_written_and_trailers_do_not(hint: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Ab:\t c  d\t \r\nx-aB: \xe4\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = sending(hint, head, b"0\r\nX-T: 1\r\n\r\n")
    async with serving(script) as origin, spoken_to(origin) as peer:
        for _ in range(2):
            reply = await exchange(peer)

            assert reply.headers == [
                (b"X-Ab", b"c  d"),
                (b"x-aB", b"\xe4"),
                (b"Transfer-Encoding", b"chunked"),
            ]


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_connection_that_the_peer_ends_is_not_used_again(response: bytes) -> None:
    async with serving(sending(response)) as origin, spoken_to(origin) as peer:
        await exchange(peer)
        await exchange(peer)

    assert len(origin.visits) == 2


async def test_response_without_a_length_ends_with_the_connection() -> None:
    script = sending(UNTIL_CLOSE, b"a", b"b", then="close")
    async with serving(script) as origin, spoken_to(origin) as peer:
        replies = [await exchange(peer), await exchange(peer)]

    assert [reply.body for reply in replies] == [b"ab", b"ab"]
    assert len(origin.visits) == 2


async def test_large_bodies_go_both_ways() -> None:
    body = bytes(range(256)) * 4096 * 3
    async with serving(sending(sized(body))) as origin, spoken_to(origin) as peer:
        replies = [await exchange(peer, body), await exchange(peer, body)]

    assert [reply.body == body for reply in replies] == [True, True]
    assert [sent == body for _, sent in origin.requests] == [True, True]
    assert len(origin.visits) == 1


@pytest.mark.parametrize(
    "response",
    [
        sized(b"hello", b"X-A: b"),
        CHUNKED + chunk(b"hello") + chunk(b"!" * 20) + b"0\r\nX-T: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nX-A: b\r\n\r\n" + OK,
    ],
)
async def test_pieces_of_any_size_give_the_same_response(response: bytes) -> None:
    replies: list[Reply] = []
    for size in range(1, len(response) + 1):
        owner, transport = FakeOwner(), FakeTransport()
        connection = Connection(owner)
        connection.connection_made(transport)
        future = connection.start(b"GET / HTTP/1.1\r\n\r\n", b"", soon())
        for start in range(0, len(response), size):
            connection.data_received(response[start : start + size])
        replies.append(future.result())

        assert owner.released == [connection]
        assert not transport.is_aborted
        connection.connection_lost(None)

    assert replies == [replies[0]] * len(response)


# Malformed responses.


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        CHUNKED + b"2\r\nok\r\n",
        CHUNKED + b"5\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_truncated_response_is_interrupted(response: bytes, then: str) -> None:
    async with serving(sending(response, then=then)) as origin, spoken_to(origin) as peer:
        with pytest.raises(Interrupted, match=r"the connection ended .* the response") as caught:
            await exchange(peer)

    place = "in the middle of" if response and then == "close" else ""
    assert place in str(caught.value)
    assert len(origin.requests) == 1


async def test_response_without_a_length_that_is_reset_is_interrupted() -> None:
    script = sending(UNTIL_CLOSE, b"ab", then="reset")
    async with serving(script) as origin, spoken_to(origin) as peer:
        with pytest.raises(Interrupted):
            await exchange(peer)

    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 999999 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nX A: b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
)
async def test_malformed_response_is_interrupted(response: bytes) -> None:
    async with serving(sending(response)) as origin, spoken_to(origin) as peer:
        with pytest.raises(Interrupted, match="not HTTP"):
            await exchange(peer)
        await origin.visits[0].over()

    assert len(origin.requests) == 1


async def test_reset_in_the_middle_of_a_request_is_interrupted() -> None:
    async def script(_origin: Origin, visit: Visit) -> None:
        await visit.reader.readexactly(100_000)
        visit.reset()

    async with serving(script) as origin, spoken_to(origin) as peer:
        with pytest.raises(Interrupted, match="before the first byte"):
            await exchange(peer, b"." * 20_000_000)

    assert len(origin.visits) == 1


async def test_close_instead_of_an_answer_is_never_repaired_by_sending_again() -> None:
    async def script(origin: Origin, visit: Visit) -> None:
        await origin.answer(visit, OK)
        await origin.answer(visit)
        visit.close()

    async with serving(script) as origin, spoken_to(origin) as peer:
        await exchange(peer)
        with pytest.raises(Interrupted, match="before the first byte"):
            await exchange(peer)

    assert len(origin.requests) == 2
    assert len(origin.visits) == 1


# Sizes.


def by_length(body: bytes) -> bytes:
    return sized(body)


def by_chunks(body: bytes) -> bytes:
    return CHUNKED + chunk(body[:10]) + chunk(body[10:]) + b"0\r\n\r\n"


def by_close(body: bytes) -> bytes:
    return UNTIL_CLOSE + body


@pytest.mark.parametrize("framed", [by_length, by_chunks, by_close])
@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_limit_of_the_response_is_exact(framed: Callable[[bytes], bytes], over: int) -> None:
    body = b"." * (LIMIT + over)
    script = sending(framed(body), then="close" if framed is by_close else "")
    async with serving(script) as origin, spoken_to(origin, max_response_bytes=LIMIT) as peer:
        if over > 0:
            with pytest.raises(ReplyTooLarge):
                await exchange(peer)
            await origin.visits[0].over()
        else:
            assert (await exchange(peer)).body == body


async def test_response_that_does_not_end_is_cut_at_the_limit() -> None:
    async def script(_origin: Origin, visit: Visit) -> None:
        await visit.request()
        visit.send(CHUNKED)
        while True:
            visit.send(chunk(b"." * 50_000))
            await visit.writer.drain()

    async with serving(script) as origin, spoken_to(origin, max_response_bytes=10**6) as peer:
        with pytest.raises(ReplyTooLarge):
            await exchange(peer)


@pytest.mark.parametrize(
    "endless", [b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 50_000, CHUNKED + b"1;" + b"x" * 400_000]
)
async def test_head_and_chunk_lines_have_an_end(endless: bytes) -> None:
    async with serving(sending(endless)) as origin, spoken_to(origin) as peer:
        with pytest.raises(Interrupted, match="around its body"):
            await exchange(peer)


async def test_body_in_single_bytes_does_not_count_as_inflation() -> None:
    response = CHUNKED + chunk(b".") * 50_000 + b"0\r\n\r\n"
    async with serving(sending(response)) as origin, spoken_to(origin) as peer:
        reply = await exchange(peer)

    assert reply.body == b"." * 50_000


# What must not be used again.


@pytest.mark.parametrize("more", [OK, b"HTTP/1.1 200 OK\r\nContent-Le", b"garbage", OK * 3])
async def test_bytes_behind_a_response_are_nobodys(more: bytes) -> None:
    first = sized(b"first")
    async with serving(sending(first + more)) as origin, spoken_to(origin) as peer:
        replies = [await exchange(peer), await exchange(peer)]

    assert [reply.body for reply in replies] == [b"first", b"first"]
    assert len(origin.visits) == 2


async def test_unrequested_bytes_end_the_connection() -> None:
    tell = asyncio.Event()

    async def script(origin: Origin, visit: Visit) -> None:
        await origin.answer(visit, OK)
        await tell.wait()
        visit.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await visit.gone()

    async with serving(script) as origin, spoken_to(origin) as peer:
        await exchange(peer)
        tell.set()
        await origin.visits[0].over()
        reply = await exchange(peer)

    assert reply.status == 200
    assert len(origin.visits) == 2


async def test_answer_before_the_request_was_taken_is_read_and_the_connection_ended() -> None:
    async def script(_origin: Origin, visit: Visit) -> None:
        await visit.reader.readuntil(b"\r\n\r\n")
        visit.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await visit.writer.drain()
        await left.wait()

    left = asyncio.Event()
    async with serving(script) as origin, spoken_to(origin) as peer:
        reply = await exchange(peer, b"." * 30_000_000)
        await until(lambda: not peer._connections)
        left.set()

    assert reply.status == 413


async def test_connection_that_the_peer_closed_between_exchanges_is_noticed() -> None:
    async def script(origin: Origin, visit: Visit) -> None:
        await origin.answer(visit, OK)

    async with serving(script) as origin, spoken_to(origin) as peer:
        for _ in range(3):
            await exchange(peer)
            await until(lambda: not peer._connections)

    assert len(origin.visits) == len(origin.requests) == 3


class OneAnswerEach:
    """A server in a thread: a connection gets one answer and is closed when told."""

    def __init__(self) -> None:
        self._listening = socket.create_server((HOST, 0))
        self.port = self._listening.getsockname()[1]
        self._close = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for _ in range(2):
            connected, _ = self._listening.accept()
            with connected:
                connected.settimeout(DEADLINE_SECONDS)
                while not connected.recv(65536).endswith(b"\r\n\r\n"):
                    pass
                connected.sendall(OK)
                self._close.wait(DEADLINE_SECONDS)
            self._closed.set()

    def close_connection(self) -> None:
        self._close.set()
        assert self._closed.wait(DEADLINE_SECONDS)

    def end(self) -> None:
        self._thread.join(DEADLINE_SECONDS)
        self._listening.close()


async def test_peer_that_left_while_the_loop_did_not_look_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_connection, "QUIET_SECONDS", 0.0)
    server = OneAnswerEach()
    async with Peer("http", HOST, server.port, PeerSettings()) as peer:
        first = await exchange(peer)
        server.close_connection()  # the event loop is blocked meanwhile
        second = await exchange(peer)
    server.end()

    assert (first.body, second.body) == (b"ok", b"ok")


async def test_connection_lost_before_it_was_handed_over_is_not_open() -> None:
    connection = Connection(FakeOwner())
    connection.connection_lost(None)  # start_tls tells so, and returns a transport
    connection.connection_made(FakeTransport())

    assert not connection.is_open

"""TLS of the client on loopback: which peers are verified, resumed sessions, failed handshakes."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import trustme

from gateway.telemetry.system import turns_of_the_loop
from gateway.wire import client
from gateway.wire.client import Interrupted, Peer, PeerSettings, Unreachable
from gateway.wire.client_tls import ResumingContext, verifying_context
from tests.wire.origin import (  # noqa: F401 - the event loops
    DEADLINE_SECONDS,
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
    spoken_to,
    until,
)

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC), datetime(2002, 1, 1, tzinfo=UTC)


def trusting(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def certified(
    *names: str, authority: trustme.CA = AUTHORITY, is_expired: bool = False
) -> ssl.SSLContext:
    """Return a server's context with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    begin, end = LONG_AGO if is_expired else (None, None)
    authority.issue_cert(*names, not_before=begin, not_after=end).configure_cert(context)
    return context


def tls_of(visit: Visit) -> ssl.SSLObject:
    found = visit.writer.get_extra_info("ssl_object")
    assert isinstance(found, ssl.SSLObject)
    return found


@pytest.mark.parametrize("host", ["localhost", HOST])
async def test_peer_is_spoken_to_over_tls(host: str) -> None:
    async with (
        serving(answering, tls=certified("localhost", HOST)) as origin,
        spoken_to(origin, scheme="https", host=host, tls=trusting()) as peer,
    ):
        replies = [await exchange(peer, b"." * 300_000), await exchange(peer)]

    assert [reply.body for reply in replies] == [b"ok", b"ok"]
    assert [len(body) for _, body in origin.requests] == [300_000, 0]
    assert len(origin.visits) == 1


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (certified("example.org"), "IP address mismatch"),
        (certified(HOST, authority=STRANGER), "unable to get local issuer certificate"),
        (certified(HOST, is_expired=True), "certificate has expired"),
    ],
    ids=["wrong name", "unknown authority", "expired"],
)
async def test_certificate_that_is_not_accepted_is_unreachable(
    server: ssl.SSLContext, reason: str
) -> None:
    async with serving(answering, tls=server) as origin:
        before = open_files()
        async with spoken_to(origin, scheme="https", tls=trusting()) as peer:
            with pytest.raises(Unreachable, match=f"certificate of 127.*{reason}"):
                await exchange(peer)
        await until(lambda: open_files() <= before)

    assert origin.requests == []


async def test_host_name_is_verified_too() -> None:
    async with (
        serving(answering, tls=certified(HOST, "other.example")) as origin,
        spoken_to(origin, scheme="https", host="localhost", tls=trusting()) as peer,
    ):
        with pytest.raises(Unreachable, match="certificate of localhost"):
            await exchange(peer)

    assert origin.requests == []


async def test_machine_does_not_trust_authorities_of_tests() -> None:
    async with (
        serving(answering, tls=certified(HOST)) as origin,
        spoken_to(origin, scheme="https") as peer,
    ):
        with pytest.raises(Unreachable, match="certificate of 127"):
            await exchange(peer)

    assert origin.requests == []


def test_own_context_verifies_everything() -> None:
    context = verifying_context()

    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def says_http(_origin: Origin, visit: Visit) -> None:
    await visit.reader.read(1)
    visit.send(OK)
    await visit.gone()


async def says_nothing(_origin: Origin, visit: Visit) -> None:
    await visit.gone()


async def closes(_origin: Origin, visit: Visit) -> None:
    await visit.reader.read(1)


async def resets(_origin: Origin, visit: Visit) -> None:
    await visit.reader.read(1)
    visit.reset()


@pytest.mark.parametrize("script", [says_http, says_nothing, closes, resets])
async def test_handshake_that_fails_is_unreachable_and_leaves_nothing(
    script: Callable[..., object],
) -> None:
    async with serving(script) as origin:  # type: ignore[arg-type]
        before = open_files()
        async with spoken_to(origin, scheme="https", tls=trusting(), connections=1) as peer:
            for _ in range(2):
                with pytest.raises(Unreachable):
                    await exchange(peer, seconds=0.1 if script is says_nothing else 20)
        await until(lambda: origin.open == 0)
        await until(lambda: open_files() <= before)

    assert len(origin.visits) == 2


@pytest.mark.parametrize("turns", [1, 2, 3, 4, 6, 8, 12, 16, 24])
async def test_cancelled_handshake_leaves_nothing(turns: int) -> None:
    async with serving(answering, tls=certified(HOST)) as origin:
        before = open_files()
        async with spoken_to(origin, scheme="https", tls=trusting(), connections=1) as peer:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(exchange(peer))
                await turns_of_the_loop(turns)
                task.cancel()

            assert (await exchange(peer)).body == b"ok"
        await until(lambda: origin.open == 0)
        await until(lambda: open_files() <= before)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_second_connection_resumes_the_session(version: ssl.TLSVersion) -> None:
    resumed: list[bool] = []

    async def script(origin: Origin, visit: Visit) -> None:
        resumed.append(bool(tls_of(visit).session_reused))
        await origin.answer(visit, OK)
        visit.close()

    server = certified(HOST)
    server.minimum_version = server.maximum_version = version
    async with (
        serving(script, tls=server) as origin,
        spoken_to(origin, scheme="https", tls=trusting()) as peer,
    ):
        for _ in range(3):
            await exchange(peer)
            await until(lambda: not peer._connections)

    assert resumed == [False, True, True]


async def test_two_peers_do_not_share_sessions() -> None:
    resumed: list[bool] = []

    async def script(origin: Origin, visit: Visit) -> None:
        resumed.append(bool(tls_of(visit).session_reused))
        await origin.answer_all(visit)

    context = trusting()
    async with serving(script, tls=certified(HOST)) as origin:
        for _ in range(2):
            async with spoken_to(origin, scheme="https", tls=context) as peer:
                await exchange(peer)

    assert resumed == [False, False]


def test_context_without_a_session_wraps_like_the_one_inside() -> None:
    resuming = ResumingContext(trusting())
    resuming.remember(None)

    wrapped = resuming.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="example.org")

    assert resuming.session is None
    assert wrapped.server_hostname == "example.org"


UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nX-B: 2\r\n\r\n"


@pytest.mark.parametrize("is_polite", [True, False])
async def test_response_that_only_the_end_delimits_is_not_believed(is_polite: bool) -> None:
    async def script(origin: Origin, visit: Visit) -> None:
        await origin.answer(visit, UNTIL_CLOSE, b"ab")
        await visit.writer.drain()
        if is_polite:
            visit.close()
            await visit.writer.wait_closed()

    async with (
        serving(script, tls=certified(HOST)) as origin,
        spoken_to(origin, scheme="https", tls=trusting()) as peer,
    ):
        with pytest.raises(Interrupted, match="the connection ended"):
            await exchange(peer)

    assert len(origin.requests) == 1


async def rude(origin: Origin, visit: Visit) -> None:
    """Answer, then read nothing more: not even close_notify is returned."""
    await origin.answer(visit, OK)
    visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def test_peer_that_does_not_send_close_notify_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "CLOSE_SECONDS", SHORT_SECONDS)
    async with serving(rude, tls=certified(HOST)) as origin:
        async with spoken_to(origin, scheme="https", tls=trusting()) as peer:
            await exchange(peer)
            began = peer.loop.time()
        took = peer.loop.time() - began

    assert took < 10


async def test_peer_that_does_not_send_close_notify_does_not_keep_a_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "CLOSE_SECONDS", SHORT_SECONDS)
    async with (
        serving(rude, tls=certified(HOST)) as origin,
        spoken_to(origin, scheme="https", tls=trusting(), idle_seconds=SHORT_SECONDS) as peer,
    ):
        await exchange(peer)
        await until(lambda: not peer._connections)

        assert peer._places == peer._settings.connections


async def test_end_that_is_cancelled_sends_no_close_notify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CLOSE_SECONDS", 3 * DEADLINE_SECONDS)
    async with serving(rude, tls=certified(HOST)) as origin:
        peer = Peer("https", HOST, origin.port, PeerSettings(tls=trusting()))
        await peer.__aenter__()
        await exchange(peer)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await peer.__aexit__(None, None, None)
        await until(lambda: not peer._connections)

    check_nothing_is_left(peer)


async def test_deadline_ends_a_handshake() -> None:
    async with (
        serving(says_nothing) as origin,
        spoken_to(origin, scheme="https", tls=trusting()) as peer,
    ):
        with pytest.raises(Unreachable, match="in time") as caught:
            await exchange(peer, seconds=SHORT_SECONDS)
        assert isinstance(caught.value.__cause__, TimeoutError)

    assert len(origin.visits) <= 1

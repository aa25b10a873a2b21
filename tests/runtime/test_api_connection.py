"""A connection of the Runtime API, spoken to by a client that splits its bytes as it likes."""

import json

import pytest
from anyio.lowlevel import checkpoint

from gateway.runtime import api_connection
from gateway.runtime.api_connection import ApiConnection
from gateway.runtime.api_routes import PONG, Event
from tests.runtime.api_client import NEXT, chunked, connected, post, until
from tests.runtime.api_paper import Paper, PaperTransport, Turns
from tests.runtime.api_rig import EVENT, TRAILERS, Fake, served, talking


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def test_a_poll_is_answered_with_the_event() -> None:
    async with talking(Fake()) as client:
        answer = await client.ask(NEXT)

    headers = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Aws-Request-Id": "a",
        "Content-Length": "7",
    }
    assert answer == (200, headers, b'{"a":1}')


async def test_a_poll_waits_for_as_long_as_it_takes() -> None:
    platform = Fake(event=None)
    async with talking(platform) as client:
        await client.send(NEXT)
        await until(lambda: platform.connections)
        platform.connections[0].deliver(EVENT)

        assert (await client.answer()).body == b'{"a":1}'


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
async def test_a_chunked_body_brings_its_trailers(size: int) -> None:
    platform = Fake()
    trailers = f"{TRAILERS[0]}: Runtime.X\r\n{TRAILERS[1].lower()}: e30=\r\n"
    path = "invocation/a/response"
    prelude = b'{"statusCode":200}' + bytes(8)
    data = chunked(path, prelude, b"\r\n\r\n", b"x", trailers=trailers, declared=TRAILERS)
    async with talking(platform) as client:
        answer = await client.ask(*pieces(client.addressed(data), size))

    posted = platform.responses[0][1]
    assert answer.status == 202
    assert posted.body == prelude + b"\r\n\r\nx"
    assert posted.trailer(b"lambda-runtime-function-error-type") == "Runtime.X"
    assert posted.trailer(b"lambda-runtime-function-error-body") == "e30="
    assert posted.trailer(b"other") == ""


async def test_requests_split_anywhere_are_the_same_requests() -> None:
    data = post("invocation/a/response", b"12345") + chunked("invocation/b/error", b"x") + NEXT
    data = data.replace(b"HOST", Turns.authority)
    for cut in range(1, len(data)):
        platform = Fake()
        paper = Paper(platform, Turns())
        paper.send(data[:cut])
        paper.send(data[cut:])

        assert paper.statuses() == [202, 202, 200], cut
        assert platform.responses[0][1].body == b"12345"
        assert platform.errors[0][1].body == b"x"


async def test_answers_come_in_order_and_a_response_waits_for_the_poll_right_behind() -> None:
    platform = Fake(event=None)
    async with talking(platform) as client:
        await client.send(post("invocation/a/response") + NEXT)
        await until(lambda: platform.connections)
        platform.connections[0].deliver(EVENT)

        assert [(await client.answer()).status for _ in range(2)] == [202, 200]


async def test_what_comes_behind_a_poll_is_answered_after_it() -> None:
    platform = Fake(event=None)
    async with talking(platform) as client:
        await client.send(NEXT + post("invocation/a/response"))
        await until(lambda: platform.connections)
        assert not platform.responses
        platform.connections[0].deliver(EVENT)

        assert [(await client.answer()).status for _ in range(2)] == [200, 202]


async def test_a_client_may_ask_before_it_sends_a_body() -> None:
    platform = Fake()
    head, _, body = post("invocation/a/response", b"12", "Expect: 100-continue").partition(
        b"\r\n\r\n"
    )
    async with talking(platform) as client:
        assert (await client.ask(post("init/error") + head + b"\r\n\r\n")).status == 202
        assert (await client.answer()).status == 100
        assert (await client.ask(body)).status == 202


async def test_a_connection_that_shall_close_is_closed() -> None:
    async with talking(Fake()) as client:
        assert (await client.ask(NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).body
        assert await client.is_at_end()
    async with talking(Fake()) as client:
        await client.ask(post("invocation/a/response", b"1", "Connection: close"))
        assert await client.is_at_end()


async def test_two_connections_are_served_side_by_side() -> None:
    platform = Fake(event=None)
    async with (
        served(platform) as server,
        connected(server.address) as one,
        connected(server.address) as two,
    ):
        await one.send(NEXT)
        await until(lambda: platform.connections)
        assert (await two.ask(post("invocation/a/response"))).status == 202
        platform.connections[0].deliver(EVENT)
        assert (await one.answer()).status == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\na: " + bytes([1]) + b"\r\n\r\n",
        b"GET /" + b"a" * (api_connection.HEAD_BYTES + 1),
    ],
)
async def test_garbage_is_answered_with_400_and_the_end(garbage: bytes) -> None:
    async with talking(Fake()) as client:
        answer = await client.ask(garbage)

        assert answer.status == 400
        assert json.loads(answer.body)["errorType"] == "InvalidRequest"
        assert await client.is_at_end()


async def test_a_client_that_floods_behind_its_poll_is_cut() -> None:
    platform = Fake(event=None)
    async with talking(platform) as client:
        client.writer.write(client.addressed(NEXT) + bytes(api_connection.HEAD_BYTES + 1))
        assert await client.is_at_end()


async def test_a_connection_ended_before_it_was_made_is_aborted_and_heard_no_more() -> None:
    platform, transport = Fake(), PaperTransport()
    connection = ApiConnection(platform, Turns())

    connection.close()
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.data_received(NEXT)

    assert transport.is_aborted
    assert platform.connections == []


@pytest.mark.parametrize(("lines", "status"), [(-1, 200), (0, 200), (1, 400)])
async def test_lines_of_a_head_are_limited(lines: int, status: int) -> None:
    count = api_connection.HEAD_LINES - 3 + lines  # request line, Host and the empty one
    more = b"a:b\r\n" * count
    async with talking(Fake()) as client:
        answer = await client.ask(NEXT.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n"))

        assert answer.status == status


async def test_polls_sent_ahead_are_answered_without_recursion() -> None:
    async with talking(Fake()) as client:
        await client.send(NEXT * 3000)
        for _ in range(3000):
            assert (await client.answer()).status == 200


async def test_events_are_not_piled_up_for_a_client_that_does_not_read() -> None:
    """The bytes on the way: what loopback holds, and one event in the gateway."""
    platform = Fake(Event(b"", bytes(1_000_000)))
    async with talking(platform) as client:
        client.writer.transport.pause_reading()
        await client.send(NEXT * 100)
        for _ in range(100):
            await checkpoint()
        delivered = len(platform.connections)
        client.writer.transport.resume_reading()

        assert delivered < 20
        for _ in range(100):
            assert len((await client.answer()).body) == 1_000_000


async def test_of_two_connections_that_do_not_read_the_event_the_last_one_has_it() -> None:
    platform = Fake(Event(b"", bytes(20_000_000)))
    async with (
        served(platform) as server,
        connected(server.address) as first,
        connected(server.address) as second,
    ):
        for client in (first, second):
            client.writer.transport.pause_reading()
        await first.send(NEXT)
        await until(lambda: platform.connections)
        await second.send(NEXT)
        await until(lambda: platform.lost)
        second.writer.transport.resume_reading()

        assert len((await second.answer()).body) == 20_000_000


async def test_an_offer_of_http_2_is_passed_over() -> None:
    platform = Fake()
    offer = "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    async with talking(platform) as client:
        assert (await client.ask(post("invocation/a/response", b"12", *offer))).status == 202
        assert (await client.ask(NEXT)).status == 200

    assert platform.responses[0][1].body == b"12"


async def test_a_poll_with_a_body_is_refused() -> None:
    async with talking(Fake()) as client:
        head = NEXT.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n")
        assert (await client.ask(head)).status == 400


async def test_answers_that_were_not_read_come_in_full() -> None:
    ping = b"GET /2018-06-01/ping HTTP/1.1\r\nHost: HOST\r\n\r\n"
    count = 6_000_000 // len(PONG)  # more than loopback holds
    async with talking(Fake()) as client:
        client.writer.write(client.addressed(ping) * count)
        answers = await client.reader.readexactly(count * len(PONG))

    assert answers == PONG * count

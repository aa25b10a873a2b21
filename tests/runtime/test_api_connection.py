"""A connection of the Runtime API, spoken to by a client that splits its bytes as it likes."""

import asyncio
import json
from collections.abc import Callable

import pytest

from gateway.core.environment import Refused
from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.runtime import api_connection
from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.api_connection import SMALL_HEAD_BYTES, ApiConnection
from gateway.runtime.api_routes import Event
from tests.runtime.api_client import NEXT, RUNTIME, chunked, connected, post, until
from tests.runtime.api_rig import EVENT, TRAILERS, Fake, served, talking, unguarded


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
    for cut in range(1, len(data)):
        platform = Fake()
        async with talking(platform) as client:
            addressed = client.addressed(data)
            await client.send(addressed[:cut], addressed[cut:])
            statuses = [(await client.answer()).status for _ in range(3)]

        assert statuses == [202, 202, 200], cut
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


@pytest.mark.parametrize("form", [post, chunked])
async def test_a_body_up_to_the_limit_is_kept(form: Callable[..., bytes]) -> None:
    platform = Fake()
    async with talking(platform) as client:
        for size in (MAX_RESPONSE_BYTES, MAX_RESPONSE_BYTES + 1, 30_000_000, 1):
            await client.ask(form("invocation/a/response", bytes(size)))

    kept = [(len(posted.body), posted.is_too_large) for _, posted in platform.responses]
    assert kept == [(MAX_RESPONSE_BYTES, False), (0, True), (0, True), (1, False)]


async def test_no_more_than_the_limit_of_a_body_is_held() -> None:
    platform = Fake()
    async with served(platform) as server, connected(server.address) as client:
        await client.send(post("invocation/a/response", bytes(30_000_000))[:-1])
        await until(lambda: server._connections)
        connection = next(iter(server._connections))
        await until(lambda: connection._body_left == 1)

        assert connection._parser.body_bytes + len(connection._buffer) <= MAX_RESPONSE_BYTES


@pytest.mark.parametrize("is_half_closed", [True, False])
@pytest.mark.parametrize("form", [post, chunked])
async def test_a_body_without_an_end_is_truncated(
    form: Callable[..., bytes], is_half_closed: bool
) -> None:
    platform = Fake()
    async with served(platform) as server, connected(server.address) as client:
        await client.send(form("invocation/a%2Db/response", b"12345")[:-3])
        await until(lambda: server._connections and next(iter(server._connections))._in_body)
        if is_half_closed:
            client.writer.write_eof()
            answer = await client.answer()
            assert answer.status == 400
            assert json.loads(answer.body)["errorType"] == "TruncatedHTTPRequest"
            assert await client.is_at_end()
        else:
            client.writer.transport.abort()
        await until(lambda: platform.truncations)

    assert platform.truncations == ["a-b"]
    assert not platform.responses


async def test_an_error_without_an_end_is_no_truncated_response() -> None:
    platform = Fake()
    async with served(platform) as server, connected(server.address) as client:
        await client.send(post("invocation/a/error", b"12345")[:-3])
        await until(lambda: server._connections)
        client.writer.transport.abort()
        await until(lambda: not server._connections)

    assert platform.truncations == []


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


@pytest.mark.parametrize(
    "garbage",
    [b"zz\r\n", b"0\r\n" + b"a: b\r\n" * 400_000, b"1;" + b"a" * 2_000_000],
    ids=["size", "trailers", "extension"],
)
async def test_a_chunked_body_gone_wrong_leaves_no_caller_waiting(garbage: bytes) -> None:
    platform = Fake()
    head = chunked("invocation/a/response").removesuffix(b"0\r\n\r\n")
    async with talking(platform) as client:
        client.writer.write(client.addressed(head) + garbage)
        assert (await client.answer()).status == 400
        await until(lambda: platform.truncations)

    assert platform.truncations == ["a"]


async def test_a_head_of_one_mebibyte_is_taken() -> None:
    platform = Fake()
    cause = "Lambda-Runtime-Function-XRay-Error-Cause: " + "a" * 1024 * 1024
    async with talking(platform) as client:
        assert (await client.ask(post("invocation/a/error", b"{}", cause))).status == 202


async def test_a_client_that_floods_behind_its_poll_is_cut() -> None:
    platform = Fake(event=None)
    async with talking(platform) as client:
        client.writer.write(client.addressed(NEXT) + bytes(api_connection.HEAD_BYTES + 1))
        assert await client.is_at_end()


async def test_a_client_that_reads_no_answers_is_not_read_either() -> None:
    ping = b"GET /2018-06-01/ping HTTP/1.1\r\nHost: HOST\r\n\r\n"
    async with served(Fake()) as server, connected(server.address) as client:
        client.writer.write(client.addressed(ping) * 80_000)
        await until(lambda: server._connections)
        connection = next(iter(server._connections))
        await until(lambda: not connection._transport.is_reading())
        held = connection._transport.get_write_buffer_size()
        for _ in range(80_000):
            assert (await client.answer()).body == b"pong"

    assert held < 4_000_000


class Unread:
    """A transport that only remembers whether it was aborted."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


async def test_a_connection_ended_before_it_was_made_is_aborted_and_heard_no_more() -> None:
    platform, transport = Fake(), Unread()
    connection = ApiConnection(platform, RuntimeApiServer(platform, unguarded()))

    connection.close()
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.data_received(NEXT)

    assert transport.is_aborted
    assert platform.connections == []


HELD = f"POST {RUNTIME}/invocation/a/response HTTP/1.1\r\nHost: HOST\r\nContent-Length: 9\r\n\r\n"
SECOND = [
    post("invocation/a/response"),
    post("invocation/a/response", b""),
    post("invocation/a/error"),
    post("init/error"),
]


@pytest.mark.parametrize("second", SECOND)
async def test_one_body_is_read_at_a_time(second: bytes) -> None:
    platform = Fake()
    async with (
        served(platform) as server,
        connected(server.address) as first,
        connected(server.address) as other,
    ):
        await first.send(HELD.encode())
        await until(lambda: server._holder)
        refused = await other.ask(second)
        assert refused.status == 403
        assert json.loads(refused.body)["errorType"] == "InvalidStateTransition"
        assert (await first.ask(b"123456789")).status == 202
        assert (await other.ask(second)).status == 202

    assert platform.responses[0][1].body == b"123456789"


async def test_a_body_whose_connection_is_lost_makes_room_for_another() -> None:
    async with served(Fake()) as server, connected(server.address) as other:
        async with connected(server.address) as first:
            await first.send(HELD.encode())
            await until(lambda: server._holder)
        await until(lambda: not server._holder)

        assert (await other.ask(post("invocation/a/response"))).status == 202


@pytest.mark.parametrize(
    ("size", "status"),
    [(SMALL_HEAD_BYTES - 1, 202), (SMALL_HEAD_BYTES, 202), (SMALL_HEAD_BYTES + 1, 400)],
)
async def test_one_large_head_is_held_at_a_time(size: int, status: int) -> None:
    async with (
        served(Fake()) as server,
        connected(server.address) as first,
        connected(server.address) as other,
    ):
        await first.send(HELD.encode())
        await until(lambda: server._holder)
        head = f"PUT /2022-07-01/telemetry HTTP/1.1\r\nHost: {other.address}\r\nX: "
        cut = head.encode().ljust(size, b"a")
        await other.send(cut)
        connections = server._connections
        await until(
            lambda: len(connections) == 1 or any(len(c._buffer) >= size for c in connections)
        )
        await other.send(b"\r\n\r\n")

        assert (await other.answer()).status == status


@pytest.mark.parametrize(("lines", "status"), [(-1, 200), (0, 200), (1, 400)])
async def test_lines_of_a_head_are_limited(lines: int, status: int) -> None:
    count = api_connection.HEAD_LINES - 3 + lines  # request line, Host and the empty one
    more = b"a:b\r\n" * count
    async with talking(Fake()) as client:
        answer = await client.ask(NEXT.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n"))

        assert answer.status == status


STALLED = [
    NEXT[:-1],
    HELD.replace("invocation/a/response", "init/error").encode(),
    HELD.replace("invocation/a/response", "nothing").encode(),
    chunked("nothing")[:-2],
]


@pytest.mark.parametrize("begun", STALLED)
async def test_a_request_that_does_not_end_is_cut(
    monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(api_connection, "REQUEST_SECONDS", 0.05)
    async with served(Fake()) as server, connected(server.address) as client:
        await client.send(begun)
        await until(lambda: server._connections)
        await until(lambda: not server._connections)


async def test_polls_responses_and_idle_connections_are_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_connection, "REQUEST_SECONDS", 0.02)
    platform = Fake(event=None)
    async with (
        served(platform) as server,
        connected(server.address) as polling,
        connected(server.address) as posting,
        connected(server.address) as idle,
    ):
        await posting.send(HELD.encode() + b"1")
        await polling.send(NEXT)
        await idle.ask(post("nothing", b"", "X: y"))
        cut = 0
        for _ in range(3):  # others are cut meanwhile
            async with connected(server.address) as stalled:
                await stalled.send(NEXT[:-1])
                cut += await stalled.is_at_end()
        platform.connections[0].deliver(EVENT)

        assert cut == 3
        assert (await polling.answer()).status == 200
        assert (await posting.ask(b"23456789")).status == 202
        assert (await idle.ask(post("nothing"))).status == 404


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_a_turn_reads_so_many_requests(more: int) -> None:
    ping = b"GET /2018-06-01/ping HTTP/1.1\r\n\r\n"
    count = api_connection.STEPS + more
    async with served(Fake()) as server, connected(server.address) as client:
        await client.ask(NEXT)
        connection = next(iter(server._connections))
        connection.data_received(ping * count)
        left = len(connection._buffer) // len(ping)

        assert left == max(0, more)
        assert connection._is_queued == (more > 0)
        for _ in range(count):
            assert (await client.answer()).body == b"pong"
        assert not connection._is_queued
        assert (await client.ask(ping)).body == b"pong"  # it reads again


async def test_connections_that_pipeline_take_turns() -> None:
    ping = b"GET /2018-06-01/ping HTTP/1.1\r\n\r\n"
    async with (
        served(Fake()) as server,
        connected(server.address) as one,
        connected(server.address) as two,
    ):
        await one.ask(NEXT)
        first = next(iter(server._connections))
        await two.ask(NEXT)
        second = next(iter(server._connections - {first}))
        for connection in (first, second):
            connection.data_received(ping * api_connection.STEPS * 3)
        left: list[int] = []
        asyncio.get_running_loop().call_soon(
            lambda: left.extend(len(it._buffer) // len(ping) for it in (first, second))
        )
        await until(lambda: left)

        assert left == [api_connection.STEPS, api_connection.STEPS * 2]


@pytest.mark.parametrize("size", [1, 1000])
async def test_small_chunks_are_read_in_small_pieces(size: int) -> None:
    platform = Fake()
    chunks = [b"x" * size] * (60_000 // size)
    async with talking(platform) as client:
        assert (await client.ask(chunked("invocation/a/response", *chunks))).status == 202

    assert platform.responses[0][1].body == b"x" * 60_000


async def test_polls_sent_ahead_are_answered_without_recursion() -> None:
    async with talking(Fake()) as client:
        await client.send(NEXT * 3000)
        for _ in range(3000):
            assert (await client.answer()).status == 200


async def test_events_are_not_piled_up_for_a_client_that_does_not_read() -> None:
    platform = Fake(Event(b"", bytes(1_000_000)))
    async with served(platform) as server, connected(server.address) as client:
        await client.send(NEXT * 200)
        await until(lambda: any(it._is_stalled for it in server._connections))
        connection = next(iter(server._connections))

        assert connection._transport.get_write_buffer_size() < 3_000_000
        for _ in range(200):
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
        await until(lambda: len(server._connections) == 1)
        second.writer.transport.resume_reading()

        assert len((await second.answer()).body) == 20_000_000


async def test_an_offer_of_http_2_is_passed_over() -> None:
    platform = Fake()
    offer = "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    async with talking(platform) as client:
        assert (await client.ask(post("invocation/a/response", b"12", *offer))).status == 202
        assert (await client.ask(NEXT)).status == 200

    assert platform.responses[0][1].body == b"12"


async def test_a_refused_client_that_asked_first_is_closed() -> None:
    platform = Fake()
    platform.refusal = Refused(400, "InvalidRequestID", "Invalid request ID")
    head = post("invocation/b/response", b"12", "Expect: 100-continue").partition(b"\r\n\r\n")[0]
    async with talking(platform) as client:
        assert (await client.ask(head + b"\r\n\r\n")).status == 400
        assert await client.is_at_end()


async def test_a_refused_request_that_closes_is_read_to_its_end() -> None:
    async with talking(Fake()) as client:
        answer = await client.ask(post("nothing", bytes(500_000), "Connection: close"))

        assert answer.status == 404
        assert await client.is_at_end()


async def test_a_poll_with_a_body_is_refused() -> None:
    async with talking(Fake()) as client:
        head = NEXT.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n")
        assert (await client.ask(head)).status == 400

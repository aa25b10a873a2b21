"""The Runtime API server, spoken to over real sockets by a client that splits as it likes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.core.environment import Refused
from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.runtime import api
from gateway.runtime.api import ApiConnection, Event, Posted, RecentPorts, RuntimeApiServer
from tests.runtime.api_client import NEXT, Client, chunked, connected, post, until

EVENT = Event(b"Content-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: a\r\n", b'{"a":1}')
OK = b'{"status":"OK"}\n'
TRAILERS = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"


class Fake:
    """A Platform that keeps what it is told; `refusal` is raised by every answer."""

    def __init__(self, event: Event | None = EVENT) -> None:
        self.event = event
        self.connections: list[ApiConnection] = []
        self.responses: list[tuple[str, Posted]] = []
        self.errors: list[tuple[str, Posted]] = []
        self.init_errors: list[Posted] = []
        self.truncations: list[str] = []
        self.refusal: Refused | None = None

    def polled(self, connection: ApiConnection, /) -> None:
        self._refuse()
        self.connections.append(connection)
        if self.event is not None:
            connection.deliver(self.event)

    def responded(self, request_id: str, posted: Posted, /) -> None:
        self.responses.append((request_id, posted))
        self._refuse()

    def errored(self, request_id: str, posted: Posted, /) -> None:
        self._refuse()
        self.errors.append((request_id, posted))

    def init_errored(self, posted: Posted, /) -> None:
        self._refuse()
        self.init_errors.append(posted)

    def truncated(self, request_id: str, /) -> None:
        self.truncations.append(request_id)

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal


@asynccontextmanager
async def served(platform: Fake) -> AsyncIterator[RuntimeApiServer]:
    server = RuntimeApiServer(platform)
    await server.start()
    try:
        yield server
    finally:
        server.close()
        await until(lambda: not server._connections)


@asynccontextmanager
async def talking(platform: Fake) -> AsyncIterator[Client]:
    async with served(platform) as server, connected(server.address) as client:
        yield client


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


@pytest.mark.parametrize(
    ("request_bytes", "status", "content_type", "body"),
    [
        (b"GET /2018-06-01/ping", 200, "text/plain; charset=utf-8", b"pong"),
        (b"GET /2018-06-01/nothing", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        (b"GET /", 404, "text/plain; charset=utf-8", b"404 page not found\n"),
        (b"GET /2018-06-01/runtime/restore/next", 404, None, b"404 page not found\n"),
        (b"POST /2018-06-01/runtime/restore/error", 404, None, b"404 page not found\n"),
        (b"POST /2020-01-01/extension/register", 404, None, b"404 page not found\n"),
        (b"POST /2018-06-01/ping", 405, None, b""),
        (b"GET /2018-06-01/runtime/invocation/a/response", 405, None, b""),
        (b"PUT /2018-06-01/runtime/init/error", 405, None, b""),
        (
            b"PUT /2020-08-15/logs",
            202,
            "application/json",
            b'{"errorMessage":"Logs API is not supported","errorType":"Logs.NotSupported"}',
        ),
        (
            b"PUT /2022-07-01/telemetry",
            202,
            "application/json",
            b'{"errorMessage":"Telemetry API is not supported",'
            b'"errorType":"Telemetry.NotSupported"}',
        ),
    ],
)
async def test_every_path_has_its_answer(
    request_bytes: bytes, status: int, content_type: str | None, body: bytes
) -> None:
    async with talking(Fake()) as client:
        answer = await client.ask(
            request_bytes + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        )

    assert (answer.status, answer.body) == (status, body)
    assert content_type in {None, answer.headers.get("Content-Type")}


async def test_answers_reach_the_platform() -> None:
    platform = Fake()
    async with talking(platform) as client:
        first = await client.ask(post("invocation/a/response", b"1", "X-A: b"))
        second = await client.ask(post("invocation/b/error", b"no json"))
        third = await client.ask(post("init/error", b"{}"))

    assert [answer[::2] for answer in (first, second, third)] == [(202, OK)] * 3
    assert first.headers["Content-Type"] == "application/json"
    assert platform.responses[0][0] == "a"
    assert platform.responses[0][1].body == b"1"
    assert platform.responses[0][1].header(b"x-a") == "b"
    assert (platform.errors[0][0], platform.errors[0][1].body) == ("b", b"no json")
    assert platform.init_errors[0].body == b"{}"


@pytest.mark.parametrize(
    "request_bytes",
    [NEXT, post("invocation/a/response"), post("invocation/a/error"), post("init/error")],
)
async def test_a_refusal_is_an_error_in_json(request_bytes: bytes) -> None:
    platform = Fake()
    platform.refusal = Refused(403, "InvalidStateTransition", "not now")
    async with talking(platform) as client:
        answer = await client.ask(request_bytes)

    assert answer.status == 403
    assert answer.headers["Content-Type"] == "application/json"
    expected = {"errorMessage": "not now", "errorType": "InvalidStateTransition"}
    assert json.loads(answer.body) == expected


async def test_an_escaped_request_id_is_unescaped() -> None:
    platform = Fake()
    async with talking(platform) as client:
        await client.ask(post("invocation/a%2Db%20c/response"))

    assert platform.responses[0][0] == "a-b c"


async def test_a_cause_for_x_ray_is_not_the_callers() -> None:
    platform = Fake()
    kind = "Content-Type: application/vnd.aws.lambda.error.cause+json"
    body = b'{"errorMessage":"m","errorCause":{}}'
    async with talking(platform) as client:
        await client.ask(post("invocation/a/error", body, kind))
        await client.ask(post("invocation/a/error", b"?", kind))

    assert [posted.body for _, posted in platform.errors] == [
        b'{"errorMessage":"m"}',
        b'"Invalid error body"',
    ]


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
async def test_a_chunked_body_brings_its_trailers(size: int) -> None:
    platform = Fake()
    trailers = f"{TRAILERS[0]}: Runtime.X\r\n{TRAILERS[1].lower()}: e30=\r\n"
    path = "invocation/a/response"
    prelude = b'{"statusCode":200}' + bytes(8)
    data = chunked(path, prelude, b"\r\n\r\n", b"x", trailers=trailers, declared=TRAILERS)
    async with talking(platform) as client:
        answer = await client.ask(*pieces(data, size))

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
            await client.send(data[:cut], data[cut:])
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
        b"GET /" + b"a" * (api.HEAD_BYTES + 1),
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
        client.writer.write(head + garbage)
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
        client.writer.write(NEXT + bytes(api.HEAD_BYTES + 1))
        assert await client.is_at_end()


async def test_a_client_that_reads_no_answers_is_not_read_either() -> None:
    ping = b"GET /2018-06-01/ping HTTP/1.1\r\nHost: a\r\n\r\n"
    async with served(Fake()) as server, connected(server.address) as client:
        client.writer.write(ping * 120_000)
        await until(lambda: server._connections)
        connection = next(iter(server._connections))
        await until(lambda: not connection._transport.is_reading())
        held = connection._transport.get_write_buffer_size()
        for _ in range(120_000):
            assert (await client.answer()).body == b"pong"

    assert held < 4_000_000


async def test_connections_are_limited_and_forgotten() -> None:
    async with served(Fake()) as server:
        async with connected(server.address) as first:
            await first.ask(NEXT)
            others = [connected(server.address) for _ in range(api.CONNECTIONS)]
            clients = [await other.__aenter__() for other in others]
            assert await clients[-1].is_at_end()
            assert (await clients[0].ask(NEXT)).status == 200
            assert len(server._connections) == api.CONNECTIONS
            for other in others:
                await other.__aexit__(None, None, None)
        await until(lambda: not server._connections)


async def test_a_process_that_is_gone_loses_its_connections_and_the_port_stays() -> None:
    platform = Fake(event=None)
    async with served(platform) as server:
        async with connected(server.address) as client:
            await client.send(NEXT)
            await until(lambda: platform.connections)
            server.disconnect()
            assert await client.is_at_end()
        async with connected(server.address) as client:
            assert (await client.ask(post("init/error"))).status == 202


async def test_nobody_answers_after_the_close() -> None:
    async with served(Fake()) as server:
        host, port = server.address.split(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))
    server.close()


def test_a_server_that_never_started_can_be_closed() -> None:
    server = RuntimeApiServer(Fake())

    server.close()

    assert server.address == ""


def test_a_port_given_back_is_not_used_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = iter([7, 8, 7, 9])
    sockets: list[Any] = []

    class Bound:
        def __init__(self) -> None:
            self.port, self.is_closed = next(ports), False
            sockets.append(self)

        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", self.port

        def listen(self, _backlog: int) -> None: ...

        def close(self) -> None:
            self.is_closed = True

    recent = RecentPorts()
    recent.add(7, 100.0)
    monkeypatch.setattr(api, "RECENT_PORTS", recent)
    monkeypatch.setattr(api, "bound_socket", Bound)

    assert api.free_port(159.9).getsockname()[1] == 8
    assert api.free_port(160.0).getsockname()[1] == 7
    assert [it.is_closed for it in sockets] == [True, False, False]


def test_the_memory_of_ports_is_bounded() -> None:
    recent = RecentPorts()
    for port in range(api.PORTS + 1):
        recent.add(port, 0.0)

    assert not recent.has(0, 1.0)
    assert recent.has(1, 1.0)
    assert not recent.has(1, 60.0)


def test_a_machine_without_other_ports_gets_one_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recent = RecentPorts()
    monkeypatch.setattr(recent, "has", lambda port, now: True)
    monkeypatch.setattr(api, "RECENT_PORTS", recent)

    with api.free_port(0.0) as listening:
        assert listening.getsockname()[1]


async def test_a_closed_server_gives_its_port_back() -> None:
    async with served(Fake()) as server:
        port = int(server.address.split(":")[1])

    assert api.RECENT_PORTS.has(port, asyncio.get_running_loop().time())


def test_a_socket_that_gets_no_port_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[Any] = []

    def refuse(it: Any, _address: object) -> None:
        bound.append(it)
        raise OSError("no port")

    monkeypatch.setattr(socket.socket, "bind", refuse, raising=False)
    with pytest.raises(OSError, match="no port"):
        api.bound_socket()

    assert bound[0].fileno() == -1


class Unread:
    """A transport that only remembers whether it was aborted."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


def test_a_connection_ended_before_it_was_made_is_aborted_and_heard_no_more() -> None:
    platform, transport = Fake(), Unread()
    connection = ApiConnection(platform, lambda _: None)

    connection.close()
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.data_received(NEXT)

    assert transport.is_aborted
    assert platform.connections == []

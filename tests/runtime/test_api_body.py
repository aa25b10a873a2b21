"""Bodies and large heads of the Runtime API: what is kept, for how long, and of how many."""

import json
import tracemalloc
from collections.abc import Callable

import pytest

from gateway.core.environment import Refused
from gateway.core.function_errors import MAX_RESPONSE_BYTES
from gateway.runtime.api_connection import SMALL_HEAD_BYTES
from tests.runtime.api_client import chunked, connected, post, until
from tests.runtime.api_paper import Paper, Turns
from tests.runtime.api_rig import Fake, served, talking


@pytest.mark.parametrize("form", [post, chunked])
async def test_a_body_up_to_the_limit_is_kept(form: Callable[..., bytes]) -> None:
    platform = Fake()
    async with talking(platform) as client:
        for size in (MAX_RESPONSE_BYTES, MAX_RESPONSE_BYTES + 1, 30_000_000, 1):
            await client.ask(form("invocation/a/response", bytes(size)))

    kept = [(len(posted.body), posted.is_too_large) for _, posted in platform.responses]
    assert kept == [(MAX_RESPONSE_BYTES, False), (0, True), (0, True), (1, False)]


@pytest.mark.parametrize("path", ["invocation/a/response", "nothing"])
async def test_no_more_than_the_limit_of_a_body_is_held(path: str) -> None:
    """Also of one that is refused by its head: of that nothing is kept."""
    turns, piece = Turns(), bytes(2**18)
    paper = Paper(Fake(), turns)
    paper.send(post(path, b"", "X: y").replace(b"Length: 0", b"Length: 30000000"))
    tracemalloc.start()
    for _ in range(30_000_000 // len(piece)):
        paper.send(piece)
        turns.give()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    limit = MAX_RESPONSE_BYTES if "response" in path else 0
    assert peak <= 2 * limit + 2**20  # twice, because a buffer grows by copying


@pytest.mark.parametrize("is_half_closed", [True, False])
@pytest.mark.parametrize("form", [post, chunked])
async def test_a_body_without_an_end_is_truncated(
    form: Callable[..., bytes], is_half_closed: bool
) -> None:
    platform = Fake()
    async with served(platform) as server, connected(server.address) as client:
        await client.send(form("invocation/a%2Db/response", b"12345")[:-3])
        await until(lambda: platform.checked)
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


async def test_an_error_without_an_end_is_not_a_truncated_response() -> None:
    platform = Fake()
    async with served(platform) as server, connected(server.address) as client:
        await client.send(post("invocation/a/error", b"12345")[:-3])
        await until(lambda: platform.checked)
        client.writer.transport.abort()
        await until(lambda: platform.lost)

    assert platform.truncations == []


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


HELD = post("invocation/a/response", b"123456789").removesuffix(b"123456789")
"""Of a body nothing has come."""


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
        await first.send(HELD)
        await until(lambda: platform.checked)
        refused = await other.ask(second)
        assert refused.status == 403
        assert json.loads(refused.body)["errorType"] == "InvalidStateTransition"
        assert (await first.ask(b"123456789")).status == 202
        assert (await other.ask(second)).status == 202

    assert platform.responses[0][1].body == b"123456789"


async def test_a_body_whose_connection_is_lost_makes_room_for_another() -> None:
    platform = Fake()
    async with served(platform) as server, connected(server.address) as other:
        async with connected(server.address) as first:
            await first.send(HELD)
            await until(lambda: platform.checked)
        await until(lambda: platform.lost)

        assert (await other.ask(post("invocation/a/response"))).status == 202


@pytest.mark.parametrize(
    ("size", "status"),
    [(SMALL_HEAD_BYTES - 1, 202), (SMALL_HEAD_BYTES, 202), (SMALL_HEAD_BYTES + 1, 400)],
)
async def test_one_large_head_is_held_at_a_time(size: int, status: int) -> None:
    platform = Fake()
    async with served(platform) as server:
        first, other = Paper(platform, server), Paper(platform, server)
        first.send(HELD)
        head = b"PUT /2022-07-01/telemetry HTTP/1.1\r\nHost: %b\r\nX: " % server.authority
        other.send(head.ljust(size, b"a"))
        other.send(b"\r\n\r\n")

        assert other.statuses() == [status]


@pytest.mark.parametrize("size", [1, 1000])
async def test_small_chunks_are_read_in_small_pieces(size: int) -> None:
    platform = Fake()
    chunks = [b"x" * size] * (60_000 // size)
    async with talking(platform) as client:
        assert (await client.ask(chunked("invocation/a/response", *chunks))).status == 202

    assert platform.responses[0][1].body == b"x" * 60_000


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

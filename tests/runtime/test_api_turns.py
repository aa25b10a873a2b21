"""Turns and time of a Runtime API's connections: how much is read at once, and what is cut."""

import pytest
from anyio.lowlevel import checkpoint

from gateway.runtime.api_connection import REQUEST_SECONDS, STEPS
from tests.runtime.api_client import NEXT, chunked, post
from tests.runtime.api_paper import Paper, Turns
from tests.runtime.api_rig import EVENT, Fake, served
from tests.runtime.fake_time import advance, anyio_backend  # noqa: F401 - a fixture

HELD = post("invocation/a/response", b"123456789").removesuffix(b"123456789")
PING = b"GET /2018-06-01/ping HTTP/1.1\r\nHost: HOST\r\n\r\n"


STALLED = [
    NEXT[:-1],
    HELD.replace(b"invocation/a/response", b"init/error"),
    HELD.replace(b"invocation/a/response", b"nothing"),
    chunked("nothing")[:-2],
]


@pytest.mark.parametrize("begun", STALLED)
async def test_a_request_that_does_not_end_is_cut(begun: bytes) -> None:
    paper = Paper(Fake(), Turns())
    paper.send(begun)
    await advance(REQUEST_SECONDS - 0.1)
    early = paper.transport.is_aborted
    await advance(0.1)

    assert (early, paper.transport.is_aborted) == (False, True)


async def test_polls_responses_and_idle_connections_are_not_cut() -> None:
    platform = Fake(event=None)
    polling, posting, idle = (Paper(platform, Turns()) for _ in range(3))
    posting.send(HELD + b"1")
    polling.send(NEXT)
    idle.send(post("nothing", b"", "X: y"))
    await advance(10 * REQUEST_SECONDS)
    platform.connections[0].deliver(EVENT)
    posting.send(b"23456789")
    idle.send(post("nothing"))

    assert polling.statuses() == [200]
    assert posting.statuses() == [202]
    assert idle.statuses() == [404, 404]


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_a_turn_reads_a_limited_number_of_requests(more: int) -> None:
    turns = Turns()
    paper = Paper(Fake(), turns)
    paper.send(PING * (STEPS + more))

    assert len(paper.statuses()) == STEPS + min(more, 0)
    assert len(turns.waiting) == paper.transport.is_paused == max(more, 0)
    turns.give()
    assert len(paper.statuses()) == STEPS + more
    assert not paper.transport.is_paused
    paper.send(PING)
    assert len(paper.statuses()) == STEPS + more + 1


async def test_connections_that_pipeline_take_turns() -> None:
    platform = Fake()
    async with served(platform) as server:
        both = [Paper(platform, server) for _ in range(2)]
        for paper in both:
            paper.send(PING * STEPS * 3)
        read = [[len(paper.statuses()) // STEPS for paper in both]]
        while read[-1] != [3, 3]:
            await checkpoint()
            read.append([len(paper.statuses()) // STEPS for paper in both])

    assert list(dict.fromkeys(map(tuple, read))) == [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]


async def test_a_client_that_reads_no_answers_is_not_read_either() -> None:
    turns = Turns()
    paper = Paper(Fake(), turns)
    paper.send(PING)
    paper.connection.pause_writing()  # as a transport does when its buffer is full
    paper.send(PING)

    assert paper.transport.is_paused
    assert len(paper.statuses()) == 1
    paper.connection.resume_writing()
    turns.give()
    assert not paper.transport.is_paused
    assert len(paper.statuses()) == 2

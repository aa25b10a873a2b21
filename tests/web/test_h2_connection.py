"""HTTP/2 as an independent codec sees it: requests, responses, refusals, GOAWAY."""

import asyncio
from dataclasses import replace

import h2.events
import h2.settings
import pytest

from gateway.core.alb import REQUEST_BODY_LIMIT
from gateway.core.floods import (
    CONCURRENT_STREAMS,
)
from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.limits import SWEEP_SECONDS, UPLOAD_BYTES, UPLOAD_SECONDS, Limits
from gateway.core.room import LEAST_NEED_BYTES
from tests.web.h2_peer import GET, POST, H2Client, asked, frame, head, statuses
from tests.web.peer import DATE, Held, Serve, Telling, answer, balancer

LIMITS = Limits()
CANCEL, REFUSED_STREAM = 8, 7


class Failing:
    """A Responder with a bug."""

    async def respond(self, request: HttpRequest, /) -> HttpResponse:
        raise ZeroDivisionError(request.raw_path.decode())


class Saying:
    """A Responder that always says the same."""

    def __init__(self, response: HttpResponse) -> None:
        self._response = response

    async def respond(self, _request: HttpRequest, /) -> HttpResponse:
        return self._response


# Answers


def test_answer_has_lower_case_names_and_no_connection_header(serve: Serve) -> None:
    client = H2Client(serve())

    stream = client.ask()

    assert list(client.headers(stream).items()) == [
        (":status", "200"),
        ("server", "awselb/2.0"),
        ("date", DATE.decode()),
        ("content-type", "text/plain"),
        ("content-length", "12"),
    ]
    assert client.body(stream) == b"GET /a?b=c 0"
    assert client.is_over(stream)


def test_requests_are_answered_in_the_order_of_their_answers(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    streams = [client.ask(head(path=f"/{count}")) for count in range(3)]
    held.waiting.reverse()

    for count in (2, 1, 0):
        held.release(answer(b"%d" % count))
        client.read()

    ended = [event.stream_id for event in client.of(h2.events.StreamEnded)]
    assert ended == streams[::-1]
    assert [client.body(stream) for stream in streams] == [b"0", b"1", b"2"]


def test_head_is_answered_without_a_body(serve: Serve) -> None:
    client = H2Client(serve())

    stream = client.ask(head(method="HEAD"))

    assert client.headers(stream)["content-length"] == "13"
    assert (client.body(stream), client.is_over(stream)) == (b"", True)


def test_every_request_is_noted_once(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    client.ask()
    client.ask(POST, b"hello")

    fields = b"server: awselb/2.0\r\ndate: %b\r\ncontent-type: text/plain\r\n" % DATE
    fields += b"content-length: 12\r\n"
    assert world.noted == [(200, len(fields) + 12), (200, len(fields) + 13)]
    assert [notice.request.http_version for notice in world.served] == ["2", "2"]


def test_bug_is_a_page_and_the_connection_goes_on(serve: Serve) -> None:
    world = serve(Failing())
    client = H2Client(world)

    assert statuses(client, [client.ask(), client.ask()]) == [502, 502]
    assert len(world.warnings) == 2


def test_function_is_asked_through_the_balancer(serve: Serve) -> None:
    responder, invoker = balancer(port=443)
    client = H2Client(serve(responder))

    stream = client.ask(head(("cookie", "a=b"), ("cookie", "c=d"), ("expect", "100-continue")))

    (invocation,) = invoker.invocations
    assert client.status(stream) == 200
    assert b'"cookie":"a=b; c=d"' in invocation.payload
    assert b'"host":"a"' in invocation.payload
    assert b"expect" not in invocation.payload
    assert not client.of(h2.events.InformationalResponseReceived)


# Bodies


@pytest.mark.parametrize("size", [1, 16_384, 200_000])
def test_body_comes_whole(serve: Serve, size: int) -> None:
    world = serve()
    body = bytes(range(256)) * (size // 256 + 1)

    H2Client(world).ask(POST, body[:size])

    assert world.asked.body == body[:size]
    assert world.asked.received_bytes > size


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_body_over_its_limit_is_refused(serve: Serve, *, over: int, is_declared: bool) -> None:
    world = serve()
    client = H2Client(world)
    size = REQUEST_BODY_LIMIT + over
    more = [("content-length", str(size))] if is_declared else []

    stream = client.ask(head(*more, of=POST), bytes(size))

    assert client.status(stream) == (413 if over > 0 else 200)
    assert client.is_over(stream)
    assert not client.connection._streams
    assert client.room.total == 0
    assert client.status(client.ask()) == 200


def test_refused_body_that_goes_on_is_dropped_and_then_cut(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    stream = client.ask(head(("content-length", str(2**30)), of=POST), ends=False)
    assert client.status(stream) == 413

    client.send(stream, bytes(UPLOAD_BYTES), ends=False)
    assert client.reset(stream) is None
    client.send(stream, b"x", ends=False)

    assert client.reset(stream) == 0
    assert client.room.total == 0
    assert world.noted[0][0] == 413


def test_refused_body_that_does_not_end_is_cut(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    stream = client.ask(head(("host", "b"), of=POST), ends=False)

    world.wait(UPLOAD_SECONDS - SWEEP_SECONDS)
    client.read()
    assert client.reset(stream) is None
    world.wait(2 * SWEEP_SECONDS)
    client.read()

    assert client.reset(stream) == 0


def test_trailers_are_dropped(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    stream = client.ask(POST, b"hello", ends=False)
    client.codec.send_headers(stream, [("x-trailer", "a")], end_stream=True)
    client.flush()

    assert client.status(stream) == 200
    assert b"x-trailer" not in dict(world.asked.headers)


# Streams that end early


def test_reset_request_is_noted_as_incomplete(serve: Serve) -> None:
    world = serve()
    client = H2Client(world)
    stream = client.ask(POST, b"abc", ends=False)
    client.codec.reset_stream(stream, CANCEL)
    client.flush()

    assert world.requests == []
    assert world.noted == [(400, 0)]
    assert client.room.total == 0


def test_result_of_a_reset_stream_is_dropped(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    stream = client.ask()
    client.codec.reset_stream(stream, CANCEL)
    client.flush()
    assert world.noted == []

    held.release()
    client.read()

    assert world.noted == [(460, 0)]
    assert not client.of(h2.events.ResponseReceived)


def test_running_invocations_of_reset_streams_count(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    client.share.need = LEAST_NEED_BYTES
    for _ in range(100):
        client.codec.reset_stream(client.ask(), CANCEL)
        client.flush()
    streams = [client.ask() for _ in range(CONCURRENT_STREAMS - 100 + 1)]

    assert [client.reset(stream) for stream in streams] == [None] * 28 + [REFUSED_STREAM]
    held.release()
    client.read()
    assert client.reset(client.ask()) is None
    assert len(held.requests) == CONCURRENT_STREAMS + 1
    for _ in range(CONCURRENT_STREAMS):
        held.release()


@pytest.mark.parametrize("over", [-1, 0])
def test_streams_at_once_have_a_limit(serve: Serve, over: int) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    client.share.need = LEAST_NEED_BYTES
    encode = client.codec.encoder.encode
    count = CONCURRENT_STREAMS + over
    client.peer.send(b"".join(frame(1, 5, 1 + 2 * index, encode(GET)) for index in range(count)))
    world.turn()

    assert len(held.requests) == count
    for _ in held.requests:
        held.release()


def test_client_that_breaks_the_limit_of_streams_is_closed(serve: Serve) -> None:
    """It has acknowledged the limit: an error (RFC 9113 section 5.1.2)."""
    client = H2Client(serve())

    client.peer.send(asked(*range(1, 2 + 2 * CONCURRENT_STREAMS, 2)))
    client.world.turn()

    assert client.peer.is_closed
    assert b"max concurrent streams exceeded" in client.peer.received


def test_client_that_leaves_counts_until_its_invocations_are_over(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    client.ask()
    client.ask(POST, b"a", ends=False)

    client.peer.leave()
    world.turn()
    assert world.noted == [(400, 0)]
    assert world.front.members.connections == {client.connection}

    held.release()
    world.turn()
    assert world.noted == [(400, 0), (460, 0)]
    assert world.front.members.connections == set()


def test_abort_ends_the_wait_for_invocations(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    client.ask()
    client.ask()

    world.front.abort()
    world.turn()

    assert [status for status, _ in world.noted] == [460, 460]
    assert world.front.members.connections == set()
    assert not asyncio.all_tasks(world.loop)


def test_connection_over_the_limit_is_closed_at_once(serve: Serve) -> None:
    world = serve(limits=replace(LIMITS, connections=1))
    H2Client(world)

    refused = H2Client(world)

    assert (refused.peer.is_aborted, refused.peer.received) == (True, b"")


# The client's pace


def test_body_goes_as_far_as_the_windows_allow(serve: Serve) -> None:
    client = H2Client(serve(Telling(1000)), window=10)
    stream = client.ask()
    assert len(client.body(stream)) == 10
    (open_one,) = client.connection._streams._open.values()
    assert client.room.total == 1000 + open_one.claim.heads  # a part of a body holds all of it

    client.take(500, stream)
    assert len(client.body(stream)) == 510
    client.take(1000, stream)

    assert len(client.body(stream)) == 1000
    assert (client.is_over(stream), client.room.total) == (True, 0)


def test_smaller_and_larger_initial_windows_are_obeyed(serve: Serve) -> None:
    client = H2Client(serve(Telling(1000)), window=0)
    stream = client.ask()
    assert client.body(stream) == b""

    client.codec.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2000})
    client.flush()

    assert len(client.body(stream)) == 1000


def test_streams_take_turns(serve: Serve) -> None:
    client = H2Client(serve(Telling(500_000)), window=2**20)
    streams = [client.ask(), client.ask()]
    client.take(2**20)

    data = [event.stream_id for event in client.of(h2.events.DataReceived)]
    assert set(data[10:20]) == set(streams)
    assert [len(client.body(stream)) for stream in streams] == [500_000] * 2


def test_client_that_does_not_read_is_not_read_either(serve: Serve) -> None:
    world = serve(Telling(50_000))
    client = H2Client(world, room=200)
    client.ask()
    assert client.peer.is_reading_paused
    assert client.peer.unsent

    client.peer.take()
    client.read()

    assert not client.peer.is_reading_paused
    assert len(client.body(1)) == 50_000


# A broken protocol


def test_broken_protocol_ends_the_connection_with_goaway(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    client = H2Client(world)
    client.ask()

    client.raw(frame(8, 0, 0, bytes(4)))

    assert [code for code, _ in client.goaways] == [1]
    assert client.peer.is_closed
    held.release()
    world.turn()
    assert world.noted == [(0, 0)]

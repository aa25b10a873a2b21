"""Whatever comes, it does not matter in which pieces; and no stranger's byte breaks a promise."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.desync import Mode
from tests.web.peer import CANARY, chunked
from tests.web.streams import (
    BODY_LIMIT,
    CUTS,
    MODES,
    OVERHEAD,
    SMALL,
    STREAMS,
    cut,
    play,
    small_bodies,
)


def outcome(pieces: list[bytes], mode: Mode, *, has_end: bool) -> tuple[object, ...]:
    """What a client gets, what the function gets, and what is noted."""
    world, peer, is_ended = play(pieces, mode, has_end=has_end)
    requests = [(item.method, item.target, item.headers, item.body) for item in world.requests]
    return peer.received, requests, world.noted, is_ended


@given(data=STREAMS, cuts=CUTS, mode=MODES, has_end=st.booleans())
def test_pieces_do_not_matter(data: bytes, cuts: set[int], mode: Mode, has_end: bool) -> None:
    with small_bodies():
        whole = outcome([data] if data else [], mode, has_end=has_end)

        assert outcome(cut(data, set(range(len(data)))), mode, has_end=has_end) == whole
        assert outcome(cut(data, cuts), mode, has_end=has_end) == whole


@given(
    padding=st.integers(0, OVERHEAD + 60),
    sizes=st.lists(st.integers(1, 20), max_size=6),
    trailer=st.integers(0, OVERHEAD + 60),
    fault=st.sampled_from([b"", b"z"]),
    cuts=CUTS,
)
def test_pieces_do_not_matter_where_a_chunked_body_is_at_its_limits(
    padding: int, sizes: list[int], trailer: int, fault: bytes, cuts: set[int]
) -> None:
    chunks = [size * b"x" for size in sizes]
    end = b"0\r\nT:" + trailer * b"t" + b"\r\n" + fault + b"\r\n"
    data = chunked(*chunks, end=end).replace(
        b"\r\n\r\n", b"\r\n\r\n1;%b\r\ny\r\n" % (padding * b"a"), 1
    )
    data += CANARY
    with small_bodies():
        whole = outcome([data], Mode.DEFENSIVE, has_end=False)

        assert outcome(cut(data, set(range(len(data)))), Mode.DEFENSIVE, has_end=False) == whole
        assert outcome(cut(data, cuts), Mode.DEFENSIVE, has_end=False) == whole


@given(data=STREAMS, mode=MODES, cuts=CUTS)
def test_whatever_comes_is_answered_in_order_and_within_the_limits(
    data: bytes, mode: Mode, cuts: set[int]
) -> None:
    with small_bodies():
        world, peer, _ = play(cut(data, cuts), mode)

    assert all(request.raw_path.startswith(b"/") for request in world.requests)
    assert all(len(request.body) <= BODY_LIMIT for request in world.requests)
    assert all(request.received_bytes <= len(data) for request in world.requests)
    served = [notice.response.body for notice in world.served if notice.elb_status == 200]
    assert len(served) == len(world.requests)
    answered = [size for _, size in world.noted if size]  # none for a client that left in a body
    assert peer.received.count(b"HTTP/1.1 ") == len(answered) + peer.received.count(b" 100 ")
    assert len(peer.connection._buffer) <= max(SMALL.head_bytes, SMALL.pipelined_bytes + len(data))


@given(data=STREAMS, mode=MODES, cuts=CUTS)
def test_nothing_behind_a_closing_answer_is_answered_or_reaches_the_function(
    data: bytes, mode: Mode, cuts: set[int]
) -> None:
    with small_bodies():
        world, peer, is_ended = play([*cut(data, cuts), CANARY, CANARY], mode)

    last = peer.received.rpartition(b"Connection: close\r\n")[2]
    if last != peer.received:
        assert b"HTTP/1.1 " not in last
        assert is_ended
    assert len([item for item in world.noted if item[0] == 200]) == len(world.requests)

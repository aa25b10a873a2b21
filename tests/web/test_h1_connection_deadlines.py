"""Every deadline of a connection just before and at its moment; no time really passes."""

from dataclasses import replace

import pytest

from gateway.core.limits import SWEEP_SECONDS, Limits, Phase
from tests.web.peer import GET, Held, Serve, Telling, phase, post

LIMITS = Limits()


@pytest.mark.parametrize("pieces", [[], [GET], [GET, b"\r\n"]], ids=["new", "used", "empty-line"])
def test_idle_connection_is_closed_without_a_word(serve: Serve, pieces: list[bytes]) -> None:
    world = serve()
    peer = world.exchange(*pieces)
    received = peer.received

    world.wait(LIMITS.idle_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert (peer.is_closed, peer.is_aborted) == (True, False)
    assert peer.received == received
    assert len(world.served) == len(pieces[:1])


def test_silence_counts_from_the_response_and_not_from_the_request(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)
    world.wait(600)

    held.release()
    world.turn()

    assert peer.statuses == [200]
    world.wait(LIMITS.idle_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert peer.is_closed


def test_function_may_take_longer_than_the_idle_time(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET)

    world.wait(10 * LIMITS.idle_seconds)

    assert not peer.is_closed
    held.release()
    world.turn()
    assert peer.statuses == [200]


QUICK = replace(LIMITS, idle_seconds=5, head_seconds=20)


@pytest.mark.parametrize("begin", [b"G", GET[:-1], GET + GET[:-1]])
def test_silence_within_a_head_is_a_time_out(serve: Serve, begin: bytes) -> None:
    world = serve(limits=QUICK)
    peer = world.exchange(begin)

    world.wait(5 - SWEEP_SECONDS)
    assert 408 not in peer.statuses
    world.wait(SWEEP_SECONDS)
    assert peer.statuses[-1] == 408
    assert "head" in world.served[-1].response.forwarding.detail


def test_silence_within_a_body_is_a_time_out(serve: Serve) -> None:
    world = serve(limits=QUICK)
    peer = world.exchange(post(b"hello")[:-1])

    world.wait(5 - SWEEP_SECONDS)
    assert peer.statuses == []
    world.wait(SWEEP_SECONDS)
    assert peer.statuses == [408]
    assert world.served[0].request.method == "POST"
    assert "body" in world.served[0].response.forwarding.detail


def test_any_byte_ends_the_silence(serve: Serve) -> None:
    world = serve(limits=QUICK)
    peer = world.exchange(b"G")

    for byte in b"ET":
        world.wait(5 - SWEEP_SECONDS)
        peer.send(bytes([byte]))
    world.wait(5 - SWEEP_SECONDS)

    assert peer.statuses == []


def test_head_must_be_complete_in_time_however_busy_the_client_is(serve: Serve) -> None:
    world = serve()
    peer = world.connect()

    for second in range(int(LIMITS.head_seconds)):
        peer.send(b"GET /"[second : second + 1] or b"a")
        assert peer.statuses == []
        world.wait(1)

    assert peer.statuses == [408]
    assert peer.is_half_closed


def test_time_for_a_head_begins_with_its_first_byte(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(GET)
    for lines in (b"\r\n", b"\n"):
        world.wait(15)
        peer.send(lines)
    world.wait(15)
    peer.send(GET[:-1])

    world.wait(LIMITS.head_seconds - SWEEP_SECONDS)
    assert peer.statuses == [200]
    world.wait(SWEEP_SECONDS)
    assert peer.statuses == [200, 408]


def test_time_for_a_head_that_waited_begins_with_the_answer_before_it(serve: Serve) -> None:
    held = Held()
    world = serve(held)
    peer = world.exchange(GET, GET[:-1])
    world.wait(100)
    held.release()
    world.turn()

    world.wait(LIMITS.head_seconds - SWEEP_SECONDS)
    assert peer.statuses == [200]
    world.wait(SWEEP_SECONDS)
    assert peer.statuses == [200, 408]


@pytest.mark.parametrize(("late", "status"), [(-1, 0), (0, 0), (1, 408)])
def test_body_may_come_at_any_speed_in_its_grace(serve: Serve, late: int, status: int) -> None:
    world = serve()
    peer = world.exchange(post(5000 * b"x")[:-5000])

    world.wait(LIMITS.body_grace_seconds + late * SWEEP_SECONDS)

    assert peer.statuses == ([status] if status else [])


@pytest.mark.parametrize(("size", "status"), [(1023, 408), (1024, 0), (1025, 0)])
def test_body_must_come_fast_enough_after_its_grace(serve: Serve, size: int, status: int) -> None:
    world = serve()
    peer = world.exchange(post(5000 * b"x")[:-5000] + size * b"x")

    world.wait(LIMITS.body_grace_seconds + 1)

    assert peer.statuses == ([status] if status else [])


def test_trickled_body_is_cut_off(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(post(5000 * b"x")[:-5000])

    for _ in range(int(LIMITS.body_grace_seconds)):
        world.wait(1)
        peer.send(100 * b"x")
    assert peer.statuses == []
    world.wait(1)

    assert peer.statuses == [408]


def test_body_that_comes_fast_enough_may_take_its_time(serve: Serve) -> None:
    world = serve()
    peer = world.exchange(post(100 * 1024 * b"x")[: -100 * 1024])

    for _ in range(100):
        peer.send(1024 * b"x")
        world.wait(1)

    assert peer.statuses == [200]


@pytest.mark.parametrize(
    ("early", "connections"), [(1, ["keep-alive", "close"]), (0, ["close"]), (-1, ["close"])]
)
def test_connection_that_is_old_gets_one_more_answer(
    serve: Serve, early: int, connections: list[str]
) -> None:
    limits = replace(LIMITS, idle_seconds=4000)
    world = serve(limits=limits)
    peer = world.connect()
    world.wait(limits.keep_alive_seconds - early * SWEEP_SECONDS)

    peer.send(GET)
    world.turn()
    world.wait(SWEEP_SECONDS)
    peer.send(GET)
    world.turn()

    assert [reply.headers["Connection"] for reply in peer.replies] == connections


def test_empty_lines_do_not_hold_a_connection_open(serve: Serve) -> None:
    limits = replace(LIMITS, idle_seconds=5, keep_alive_seconds=60)
    world = serve(limits=limits)
    peer = world.connect()

    for _ in range(16):
        assert not peer.is_closed
        world.wait(4)
        peer.send(b"\r\n")
    world.wait(1)

    assert peer.is_closed
    assert peer.received == b""


# A client that does not read


def test_client_that_takes_nothing_is_reset(serve: Serve) -> None:
    world = serve(Telling(size=1000))
    peer = world.connect(room=100)
    peer.send(GET)
    world.turn()

    world.wait(LIMITS.stalled_write_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert (peer.is_closed, peer.is_reset) == (True, True)


def test_client_that_takes_nothing_of_a_transport_without_socket_is_cut_off(serve: Serve) -> None:
    world = serve(Telling(size=1000))
    peer = world.connect(room=100, has_socket=False)
    peer.send(GET)

    world.wait(LIMITS.stalled_write_seconds)

    assert (peer.is_closed, peer.is_aborted) == (True, True)


def test_client_that_takes_a_little_at_a_time_gets_all_of_it(serve: Serve) -> None:
    world = serve(Telling(size=1000))
    peer = world.connect(room=0)
    peer.send(GET)
    world.turn()

    while peer.unsent:
        assert not peer.is_closed
        world.wait(LIMITS.stalled_write_seconds - SWEEP_SECONDS)
        peer.take(100)

    assert peer.statuses == [200]
    assert phase(peer) is Phase.IDLE


def test_client_that_stops_in_the_middle_is_reset(serve: Serve) -> None:
    world = serve(Telling(size=1000))
    peer = world.connect(room=100)
    peer.send(GET)
    world.wait(50)
    peer.take(100)

    world.wait(LIMITS.stalled_write_seconds)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert peer.is_reset


def test_silence_counts_from_the_last_byte_taken(serve: Serve) -> None:
    world = serve(Telling(size=1000))
    peer = world.connect(room=100)
    peer.send(GET)
    world.turn()
    world.wait(LIMITS.stalled_write_seconds - 1)

    peer.take()

    world.wait(LIMITS.idle_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert (peer.is_closed, peer.is_aborted) == (True, False)

"""Every deadline of a connection just before and at its moment; no time really passes."""

from dataclasses import replace

import pytest

from gateway.core.limits import BRIEF_LINGER_SECONDS, SWEEP_SECONDS, Limits, Phase
from tests.web.peer import CANARY, CLIENT, GET, Held, Peer, Serve, Telling, World, phase, post

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


def test_empty_lines_do_not_hold_a_connection_for_ever(serve: Serve) -> None:
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


# Lingering


def refused(world: World, *, room: int | None = None) -> Peer:
    peer = world.connect(room=room)
    peer.send(b"x\r\n\r\n")
    world.turn()
    return peer


def test_refused_client_that_is_silent_has_so_long_to_see_why(serve: Serve) -> None:
    world = serve()
    peer = refused(world)

    world.wait(LIMITS.linger_silence_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert (peer.is_closed, peer.is_reset) == (True, False)
    assert peer.statuses == [400]


def sent_on(world: World, peer: Peer, size: int, seconds: float) -> float:
    """Send so many bytes a second, at most for so long; return when the connection was closed."""
    for quarters in range(int(seconds / SWEEP_SECONDS)):
        if peer.is_closed:
            return quarters * SWEEP_SECONDS
        peer.send(bytes(int(size * SWEEP_SECONDS)))
        world.wait(SWEEP_SECONDS)
    return seconds


def test_refused_client_may_send_at_any_speed_for_a_while(serve: Serve) -> None:
    world = serve()

    ended = sent_on(world, refused(world), 4, 60)

    assert ended == LIMITS.linger_seconds + SWEEP_SECONDS


def test_refused_client_may_go_on_for_as_long_as_it_is_fast(serve: Serve) -> None:
    world = serve()

    assert sent_on(world, refused(world), int(LIMITS.linger_bytes_per_second), 300) == 300


def test_refused_client_that_becomes_slow_is_cut_off(serve: Serve) -> None:
    world = serve()
    peer = refused(world)
    rate = int(LIMITS.linger_bytes_per_second)

    assert sent_on(world, peer, rate, 40) == 40
    ended = sent_on(world, peer, rate // 2, 300)

    assert peer.is_closed
    assert 2 * 30 <= ended <= 2 * 30 + 1  # what it was ahead by


@pytest.mark.parametrize(("more", "is_closed"), [(-1, False), (0, False), (1, True)])
def test_refused_client_may_send_so_much_more(serve: Serve, more: int, is_closed: bool) -> None:
    world = serve(limits=replace(LIMITS, linger_bytes=1000))
    peer = refused(world)

    for size in (500, 500 + more):
        assert not peer.is_closed
        peer.send(size * b"x")
        world.turn()

    assert peer.is_closed is is_closed
    assert peer.connection._buffer == b""


def test_linger_begins_when_the_refusal_is_written(serve: Serve) -> None:
    world = serve()
    peer = refused(world, room=10)
    world.wait(4 * LIMITS.linger_silence_seconds)
    assert not peer.is_closed

    peer.take()

    assert peer.statuses == [400]
    world.wait(LIMITS.linger_silence_seconds - SWEEP_SECONDS)
    assert not peer.is_closed
    world.wait(SWEEP_SECONDS)
    assert peer.is_closed


FEW = replace(LIMITS, lingering=3, lingering_per_address=2)
OTHERS = [(f"198.51.100.{number}", 40000) for number in range(8, 12)]


def lingering(world: World, client: tuple[str, int]) -> Peer:
    peer = world.connect(client)
    peer.send(b"x\r\n\r\n")
    world.turn()
    return peer


def still_open(world: World, peers: list[Peer], seconds: float) -> list[bool]:
    world.wait(seconds)
    return [not peer.is_closed for peer in peers]


def test_few_connections_of_an_address_linger_long(serve: Serve) -> None:
    world = serve(limits=FEW)
    peers = [lingering(world, client) for client in (CLIENT, CLIENT, CLIENT, OTHERS[0])]

    assert still_open(world, peers, BRIEF_LINGER_SECONDS - SWEEP_SECONDS) == [True] * 4
    assert still_open(world, peers, SWEEP_SECONDS) == [True, True, False, True]
    assert [peer.statuses for peer in peers] == [[400]] * 4


def test_few_connections_in_all_linger_long(serve: Serve) -> None:
    world = serve(limits=FEW)
    peers = [lingering(world, client) for client in OTHERS]

    assert still_open(world, peers, BRIEF_LINGER_SECONDS) == [True, True, True, False]


def test_place_of_one_that_lingers_is_free_when_it_has_gone(serve: Serve) -> None:
    world = serve(limits=FEW)
    for peer in [lingering(world, CLIENT) for _ in range(3)]:
        peer.leave()
    world.turn()

    peers = [lingering(world, CLIENT) for _ in range(3)]

    assert still_open(world, peers, BRIEF_LINGER_SECONDS) == [True, True, False]
    assert world.front.members.lingering == {peer._protocol for peer in peers[:2]}


def test_connection_that_lingers_counts_as_one(serve: Serve) -> None:
    world = serve(limits=replace(LIMITS, connections_per_address=1))
    peer = lingering(world, CLIENT)

    assert lingering(world, CLIENT).is_aborted
    assert world.front.members.per_address == {CLIENT[0]: 1}
    peer.send_eof()
    world.turn()
    assert peer.is_closed
    assert lingering(world, CLIENT).statuses == [400]


def test_refused_client_that_takes_nothing_is_reset(serve: Serve) -> None:
    world = serve()
    peer = refused(world, room=0)

    world.wait(LIMITS.stalled_write_seconds)

    assert peer.is_reset


def test_bytes_that_waited_behind_a_closing_answer_are_dropped(serve: Serve) -> None:
    held = Held()
    world = serve(held, limits=replace(LIMITS, pipelined_bytes=5))
    peer = world.exchange(GET.replace(b"Host", b"Connection: close\r\nHost"), CANARY, CANARY)
    assert peer.is_reading_paused

    held.release()
    world.turn()

    assert not peer.is_reading_paused
    assert peer.statuses == [200]
    assert peer.is_half_closed
    assert peer.connection.progress.body_bytes == len(CANARY)

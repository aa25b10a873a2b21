"""Whatever frames come, in whatever pieces: no defect, nothing left, each request noted once."""

from random import Random

import hpack
import pytest

from tests.web import peer
from tests.web.h2_peer import GET, POST, H2Client, frame
from tests.web.peer import Telling, World

BLOCKS = [
    hpack.Encoder().encode(headers)
    for headers in (GET, POST, [*POST, ("content-length", "5")], [("x", "trailer")], GET[1:])
]


def random_frame(random: Random) -> bytes:
    """A frame that is mostly right: of a few streams, most of them new."""
    kind = random.choice([0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 6, 7, 8, 8, 9, 0xEE])
    stream_id = random.choice([0, 1, 3, 5, 7, 9, 11, 13, random.randrange(40)])
    payloads = {
        0: bytes(random.choice([0, 1, 5, 300, 16_384])),
        1: random.choice(BLOCKS),
        2: bytes(5),
        3: bytes([0, 0, 0, random.randrange(14)]),
        4: random.choice([b"", b"\0\4\0\0\0\0", b"\0\4\0\1\0\0", b"\0\1\0\0\0\0"]),
        6: bytes(8),
        7: bytes(8),
        8: random.choice([bytes(4), b"\0\0\0\1", b"\0\0\x40\0", b"\x7f\xff\xff\xff"]),
        9: random.choice(BLOCKS),
    }
    if kind in (4, 6, 7):
        stream_id = 0
    flags = random.choice([0, 1, 4, 5, 5, 4]) if kind in (0, 1, 9) else 0
    payload = payloads.get(kind, b"abc")
    if random.random() < 0.02:
        payload = random.randbytes(random.randrange(20))
    return frame(kind, flags, stream_id, payload)


@pytest.mark.parametrize("seed", range(40))
def test_random_frames_do_no_harm(seed: int) -> None:
    random = Random(seed)
    waiting = peer.Held()
    responder = waiting if seed % 2 else Telling(random.choice([0, 100, 100_000]))
    with World(responder) as world:
        clients = []
        for _ in range(10):
            client = H2Client(world, room=random.choice([None, None, 1000]))
            clients.append(client)
            data = b"".join(random_frame(random) for _ in range(random.randrange(1, 60)))
            while data and not client.peer.is_closed:
                size = random.choice([1, 9, 100, 10_000, len(data)])
                client.peer.send(data[:size])
                data = data[size:]
                world.turn(2)
                if waiting.waiting and random.random() < 0.3:
                    waiting.release()
            world.wait(random.choice([0, 1, 30]))
            if random.random() < 0.5:
                client.peer.leave()
                world.turn()
        while waiting.waiting:
            waiting.release()
        world.turn()
        for client in clients:
            client.peer.leave()
        world.turn()

        asked = [request.target for request in responder.requests]
        noted = [notice.request for notice in world.served if notice.response.status == 200]
        assert world.warnings == []
        assert [client.room.total for client in clients] == [0] * 10
        assert len(asked) == len(noted)
        assert all(not client.connection._streams for client in clients)
        assert all(client.connection._streams._orphans == 0 for client in clients)

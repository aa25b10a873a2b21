"""The fork server's end of its socket, told by a test that plays the gateway."""

import json
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from gateway.runtime.child.fork_channel import Channel

PLAN = {"environ": {"A": "1"}}


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """A channel, and the gateway's end of it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def line(number: int, descriptors: int = 0) -> bytes:
    request = {"id": number, "plan": PLAN, "descriptors": descriptors}
    return json.dumps(request).encode() + b"\n"


def test_request_comes_with_its_descriptors(ends: tuple[Channel, socket.socket]) -> None:
    channel, gateway = ends
    reader, writer = os.pipe()
    socket.send_fds(gateway, [line(7, 2)], [reader, writer])

    (request,) = channel.receive()

    assert (request.number, request.plan, request.is_complete) == (7, PLAN, True)
    os.write(request.descriptors[1], b"through")
    assert os.read(reader, 100) == b"through"
    for descriptor in (reader, writer, *request.descriptors):
        os.close(descriptor)


def test_request_in_pieces_is_one(ends: tuple[Channel, socket.socket]) -> None:
    channel, gateway = ends
    text = line(1)
    gateway.sendall(text[:5])

    assert channel.receive() == []
    gateway.sendall(text[5:] + line(2)[:3])
    assert [request.number for request in channel.receive()] == [1]


def test_each_of_several_requests_gets_its_own_descriptors(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, gateway = ends
    pipes = os.pipe()
    for number, descriptor in enumerate(pipes):
        socket.send_fds(gateway, [line(number, 1)], [descriptor])
    requests = channel.receive()
    while len(requests) < 2:  # the kernel hands over what came with one message at a time
        requests += channel.receive()

    found = [os.fstat(request.descriptors[0]).st_ino for request in requests]
    assert found == [os.fstat(descriptor).st_ino for descriptor in pipes]
    for descriptor in (*pipes, *(request.descriptors[0] for request in requests)):
        os.close(descriptor)


def test_request_whose_descriptors_find_no_room_is_not_complete(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, gateway = ends
    socket.send_fds(gateway, [line(1, 2)], [0, 0])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
        (request,) = channel.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert not request.is_complete
    assert request.descriptors == [free]
    os.close(free)


def test_reply_is_a_line_of_json(ends: tuple[Channel, socket.socket]) -> None:
    channel, gateway = ends
    channel.send({"started": 1, "pid": 70})

    assert json.loads(gateway.recv(100)) == {"started": 1, "pid": 70}


def test_gateway_that_is_gone_ends_the_channel(ends: tuple[Channel, socket.socket]) -> None:
    channel, gateway = ends
    assert not channel.is_over
    gateway.close()

    channel.send({"exited": 1})

    assert channel.receive() == []
    assert channel.is_over

"""What Linux tells of the other end of a loopback connection: real sockets and real processes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gateway.runtime.peers import (
    PeerSocket,
    Sight,
    find_sight,
    first_links,
    links,
    links_of,
    peer_socket,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for sockets")

FAMILIES = {"127.0.0.1": socket.AF_INET, "::ffff:127.0.0.1": socket.AF_INET6}


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("host", FAMILIES)
def test_the_other_end_is_known_by_user_and_inode(listening: socket.socket, host: str) -> None:
    with socket.socket(FAMILIES[host]) as client:  # Java's clients connect in the second way
        client.connect((host, listening.getsockname()[1]))
        accepted, peer = listening.accept()
        with accepted:
            found = peer_socket(peer, accepted.getsockname())

        assert found == PeerSocket(os.geteuid(), os.fstat(client.fileno()).st_ino)
        assert found.link in links(f"/proc/{os.getpid()}/fd")


def test_a_socket_that_is_not_there_is_nothing(listening: socket.socket) -> None:
    own = listening.getsockname()

    assert peer_socket(("127.0.0.1", own[1]), ("127.0.0.1", 1)) is None


def test_a_process_that_is_gone_has_no_descriptors() -> None:
    with subprocess.Popen(["true"]) as process:
        pass

    assert list(links(f"/proc/{process.pid}/fd")) == []
    assert list(first_links(process.pid)) == []


def test_the_first_descriptors_are_looked_at_without_a_listing() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        shown = list(first_links(process.pid))

        assert shown == [] or set(shown) <= set(links(f"/proc/{process.pid}/fd"))
    assert any(link in links(f"/proc/{os.getpid()}/fd") for link in first_links(os.getpid()))


def test_a_descriptor_closed_since_the_listing_is_passed_over() -> None:
    reading, writing = os.pipe()
    shown = f"pipe:[{os.fstat(reading).st_ino}]"

    assert list(links_of(f"/proc/{os.getpid()}/fd", ["999999", str(reading)])) == [shown]
    os.close(reading)
    os.close(writing)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_descriptors_of_another_user_are_hidden() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            list(links("/proc/1/fd"))
    finally:
        os.seteuid(0)


def test_this_machine_shows_the_process() -> None:
    assert find_sight() is Sight.PROCESS


@pytest.mark.parametrize(
    ("user", "inode", "sight"),
    [
        (os.geteuid(), 1, Sight.USER),
        (os.geteuid() + 1, 1, Sight.NOTHING),
    ],
)
def test_what_is_shown_is_tried(user: int, inode: int, sight: Sight) -> None:
    assert find_sight(lambda *_: PeerSocket(user, inode)) is sight


def test_a_kernel_that_tells_nothing_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_sight(lambda *_: None) is Sight.NOTHING

    def refuse(*_: object) -> None:
        raise OSError("protocol not supported")

    assert find_sight(refuse) is Sight.NOTHING

    monkeypatch.setattr(sys, "platform", "darwin")
    assert find_sight() is Sight.NOTHING

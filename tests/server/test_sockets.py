"""The sockets of a listener: addresses, paths and what is handed over."""

import errno
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.errors import InvalidSetting
from gateway.server.sockets import listening_socket, opened, port_of, reason, unix_socket, url_of


@pytest.fixture
def path() -> Iterator[Path]:
    """A short path: those of Unix sockets take 107 bytes."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "s"


def test_port_0_is_a_free_one() -> None:
    with listening_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]

        assert url_of(listening) == f"http://127.0.0.1:{port}"
        assert port_of(listening) == port
        socket.create_connection(("127.0.0.1", port)).close()


def test_ipv6_address_has_brackets_in_the_url() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")

    with listening_socket("::1", 0) as listening:
        assert url_of(listening) == f"http://[::1]:{listening.getsockname()[1]}"


def test_port_in_use_is_refused_with_advice() -> None:
    with listening_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(InvalidSetting) as caught:
            listening_socket("127.0.0.1", port)

    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another --port, 0 for any free one"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "..", "x" * 300])
def test_address_that_is_not_ours_is_refused_with_advice(host: str) -> None:
    with pytest.raises(InvalidSetting, match=r"choose another --host$"):
        listening_socket(host, 0)


def test_port_for_root_is_refused_with_advice() -> None:
    assert reason(PermissionError(errno.EACCES, "Permission denied")) == (
        "Permission denied; ports below 1024 are for root, choose another --port"
    )


# --- Unix sockets ---


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def abandoned(path: Path) -> None:
    """Leave the file of a socket as a killed server does."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def test_unix_socket_is_there_for_as_long_as_the_block(path: Path) -> None:
    with unix_socket(path) as listening:
        assert connects(path)
        assert (url_of(listening), port_of(listening)) == (f"unix:{path}", 80)
        assert not listening.getblocking()

    assert not path.exists()


@pytest.mark.parametrize("umask", [0o022, 0o007])
def test_mode_is_what_the_umask_leaves(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with unix_socket(path):
            mode = stat.S_IMODE(path.stat().st_mode)
    finally:
        os.umask(before)

    assert mode == 0o777 & ~umask


def test_file_of_a_dead_server_is_replaced(path: Path) -> None:
    abandoned(path)
    assert not connects(path)

    with unix_socket(path):
        assert connects(path)


def test_path_of_a_living_server_is_refused(path: Path) -> None:
    with unix_socket(path):
        with pytest.raises(InvalidSetting) as caught, unix_socket(path):
            pass

        assert str(caught.value) == f"cannot listen on {path}: a server listens there already"
        assert connects(path)


def test_path_of_a_server_with_a_full_queue_is_refused(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stuck, socket.socket(socket.AF_UNIX) as waiting:
        stuck.bind(str(path))
        stuck.listen(0)
        waiting.connect(str(path))

        with pytest.raises(InvalidSetting, match="a server listens there already"):
            unix_socket(path).__enter__()


def test_file_that_is_not_a_socket_is_refused_and_kept(path: Path) -> None:
    path.write_text("precious")

    with pytest.raises(InvalidSetting, match=r"the file is not a socket; remove it first$"):
        unix_socket(path).__enter__()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["none/s", "x" * 120])
def test_path_that_cannot_be_had_is_refused_with_advice(path: Path, name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"choose another --uds$"):
        unix_socket(path.parent / name).__enter__()


def test_file_of_another_server_is_not_removed(path: Path) -> None:
    with unix_socket(path):
        path.unlink()
        abandoned(path)

    assert path.is_socket()


# --- which one ---


def test_path_is_taken_before_an_address(path: Path) -> None:
    with opened("127.0.0.1", 0, str(path)) as listening:
        assert url_of(listening) == f"unix:{path}"


def test_socket_that_is_handed_over_is_taken_before_an_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        with opened("192.0.2.1", 1, handed_over=given) as listening:
            assert listening is given

        assert given.fileno() == -1, "it is closed with the block"


def test_path_beside_a_socket_that_is_handed_over_is_refused(path: Path) -> None:
    given = socket.create_server(("127.0.0.1", 0))

    with pytest.raises(InvalidSetting, match="--uds is not for a socket that the service manager"):
        opened("127.0.0.1", 0, str(path), given).__enter__()
    assert given.fileno() == -1

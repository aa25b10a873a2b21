"""Files that say where gateways listen: found while their gateway lives, and only then."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.server.presence import Presence, announced, directory, listeners, reachable

ONE = Presence("http://127.0.0.1:1", socket.AF_INET, ("127.0.0.1", 1))
TWO = Presence("unix:/run/two", socket.AF_UNIX, "/run/two")

HOLD = """
import signal, sys
from pathlib import Path
from gateway.server.presence import Presence, announced
with announced(Presence("http://gone", 2, ("127.0.0.1", 1)), Path(sys.argv[1])):
    print("ready", flush=True)
    signal.pause()
"""


def test_listeners_are_found_as_long_as_they_last(tmp_path: Path) -> None:
    place = tmp_path / "private"
    with announced(TWO, place):
        with announced(ONE, place):
            during = listeners(place)
            mode = place.stat().st_mode & 0o777
        after_one = listeners(place)
    after = listeners(place)

    assert (during, after_one, after) == ([ONE, TWO], [TWO], [])
    assert mode == 0o700
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_file_of_a_killed_gateway_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "private"
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        during = [one.url for one in listeners(place)]
        process.send_signal(signal.SIGKILL)
    left = len(list(place.iterdir()))
    after = listeners(place)

    assert (during, left, after) == (["http://gone"], 1, [])
    assert list(place.iterdir()) == []


def test_directory_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    with announced(ONE, place):
        assert listeners(place) == []
        assert list(place.iterdir()) == []


def test_directory_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "gateway-4710"
    with announced(ONE, place):
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert listeners(place) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what other users run")
def test_root_that_runs_none_finds_those_of_other_users(tmp_path: Path) -> None:
    own, other, foreign = (tmp_path / f"gateway-{uid}" for uid in (0, 4711, 4712))
    with announced(ONE, other), announced(TWO, foreign):
        os.chown(other, 4711, 4711)  # and the second is not of the user that it names
        os.mkfifo(other / "pipe.listener")
        (other / "link.listener").symlink_to("/etc/passwd")
        alone = listeners(own)
        with announced(TWO, own):
            beside = listeners(own)

    assert (alone, beside) == ([ONE], [TWO])


def test_gateway_without_a_directory_serves_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with announced(ONE, file), announced(ONE, file / "below"), announced(ONE, Path("/proc/no")):
        assert listeners(file) == []
    assert listeners(tmp_path / "missing") == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"url": "x", "address": 1})])
def test_file_that_cannot_be_understood_is_passed_over(tmp_path: Path, text: str) -> None:
    place = tmp_path / "private"
    with announced(ONE, place):
        [path] = place.glob("*.listener")
        path.write_text(text)
        assert listeners(place) == []


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1")]
)
def test_socket_is_reached_where_it_listens(host: str, expected: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        found = reachable(listening, "http://x")
        found.connect(5)
        listening.accept()[0].close()

    assert found.address[0] == expected
    with pytest.raises(ConnectionRefusedError):
        found.connect(5)


def test_path_of_a_unix_socket_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("here")
        listening.listen()
        found = reachable(listening, "unix:here")
    assert found.address == str(tmp_path / "here")


def test_directory_is_that_of_the_session_else_the_temporary_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/t")

    assert directory({"XDG_RUNTIME_DIR": "/run/user/1"}) == Path(
        f"/run/user/1/gateway-{os.geteuid()}"
    )
    assert directory({"XDG_RUNTIME_DIR": ""}) == Path(f"/t/gateway-{os.geteuid()}")

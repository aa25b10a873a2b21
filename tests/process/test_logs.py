"""What a whole gateway writes to files of function logs and to its console: read as bytes."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.leftovers import wait_until
from tests.e2e.serving import get, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system"),
]

CODE = Path(__file__).parent / "apps"
HANDLER = "logs.handler"
ONE = ("--concurrency", "1")
DRIVING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def content(folder: Path) -> bytes:
    """Return what the one log stream holds."""
    return b"".join(path.read_bytes() for path in folder.rglob("*LATEST*.log"))


def wait_for(folder: Path, condition: Callable[[bytes], bool]) -> bytes:
    wait_until(lambda: condition(content(folder)), lambda: content(folder)[-2000:])
    return content(folder)


def ended(count: int) -> Callable[[bytes], bool]:
    return lambda data: data.count(b" REPORT RequestId") >= count


@pytest.mark.parametrize("console", ["text", "json"])
def test_what_a_function_writes_drives_no_terminal(tmp_path: Path, console: str) -> None:
    options = (*ONE, "--function-logs", str(tmp_path), "--log-format", console)
    with serving(HANDLER, *options, code=CODE) as server:
        get(server, "/?do=drive")
        written = wait_for(tmp_path, ended(1))
    shown = server.output.text()

    words = re.findall(r"^20\S+ ([A-Za-z_]+)", written.decode(), re.MULTILINE)
    assert [word for word in words if word != "INIT_START"] in [
        ["START", "a", "a", "x", "END", "REPORT"],
        ["START", "a", "x", "a", "END", "REPORT"],
    ]
    for text in (written.decode(), shown):
        assert not DRIVING.search(text)
    assert "\\x1b[31m\\x0d" in written.decode()


def test_a_false_length_ends_its_own_frame_only(tmp_path: Path) -> None:
    with serving(HANDLER, *ONE, "--function-logs", str(tmp_path), code=CODE) as server:
        for what in ("lie", "tell", "say"):
            get(server, f"/?do={what}")
        written = wait_for(tmp_path, ended(3)).decode()

    found = re.findall(r"^20\S+ (false|one|two|three|said)$", written, re.MULTILINE)
    assert found == ["false", "one", "false", "two", "three", "said"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_function_logs_recover_from_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(100 * 1024))
    with serving(HANDLER, *ONE, "--function-logs", str(small_disk), code=CODE) as server:
        get(server, "/")
        wait_for(small_disk, ended(1))
        get(server, "/?do=much")
        server.errors.wait_for("cannot be written, lines are lost: .*No space left on device")
        ballast.unlink()
        get(server, "/")
        written = wait_for(small_disk, lambda data: data.count(b" said\n") == 2).decode()
        server.stop()

    [lost] = re.findall(r"^\((\d+) lines lost: No space left on device\)$", written, re.MULTILINE)
    whole = len(re.findall(r"^20\S+ x{999}$", written, re.MULTILINE))
    assert 100 < int(lost) == 203 - 1 - whole  # START is there, END and REPORT are lost too

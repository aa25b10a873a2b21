"""What processes and directories take, with real ones."""

import asyncio
import os
from pathlib import Path

import pytest

from gateway.runtime import usage
from gateway.runtime.usage import STEP_FILES, Storage, memory_bytes
from tests.runtime.launching import launched, python_plan, until

MEGABYTE = 1024 * 1024
HOLD = """
import signal
held = bytearray({bytes})
held[::1024] = b"x" * len(held[::1024])
print("ready", flush=True)
signal.pause()
"""

pytestmark = pytest.mark.slow


async def test_divided_size_is_the_processes_own() -> None:
    async with (
        launched(python_plan(HOLD.format(bytes=1))) as small,
        launched(python_plan(HOLD.format(bytes=50 * MEGABYTE))) as large,
    ):
        await until(lambda: "ready" in small.text() and "ready" in large.text())
        one, other = small.process.pid, large.process.pid
        difference = memory_bytes([other], 0) - memory_bytes([one], 0)

        assert 49 * MEGABYTE < difference < 60 * MEGABYTE
        assert memory_bytes(large.process.members.find(), 0) == pytest.approx(
            memory_bytes([other], 0), rel=0.05
        )


async def test_divided_size_is_read_only_where_the_resident_one_is_over_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, paths = usage.read, list[str]()

    def note(path: str) -> bytes:
        paths.append(path.rpartition("/")[2])
        return read(path)

    monkeypatch.setattr(usage, "read", note)
    resident = memory_bytes([os.getpid()], 10**12)
    before = paths.copy()
    divided = memory_bytes([os.getpid()], resident // 2)

    assert before == ["statm"]
    assert "smaps_rollup" in paths
    assert 0 < divided <= resident * 1.1  # pages may have come meanwhile


async def test_resident_size_counts_where_the_divided_one_is_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = usage.read
    monkeypatch.setattr(usage, "read", lambda path: b"" if "smaps" in path else read(path))
    async with launched(python_plan(HOLD.format(bytes=50 * MEGABYTE))) as it:
        await until(lambda: "ready" in it.text())

        assert 50 * MEGABYTE < memory_bytes([it.process.pid], 0) < 80 * MEGABYTE


async def test_process_that_is_gone_counts_nothing() -> None:
    async with launched(python_plan("")) as it:
        await asyncio.shield(it.process.exited)

        assert memory_bytes([it.process.pid], 0) == 0


def test_files_of_a_directory_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(bytes(100_000))
    (tmp_path / "gone").symlink_to("/no/such/file")
    storage = Storage(str(tmp_path))

    assert storage.is_over(95_000)
    assert not storage.is_over(115_000)
    assert storage.is_over(95_000)  # each count begins again


def test_directory_that_is_missing_takes_nothing(tmp_path: Path) -> None:
    assert not Storage(str(tmp_path / "missing")).is_over(0)


def test_many_files_are_counted_over_several_looks(tmp_path: Path) -> None:
    for number in range(2 * STEP_FILES + 1):
        (tmp_path / str(number)).symlink_to("/")  # takes no block
    (tmp_path / "0").unlink()
    (tmp_path / "large").write_bytes(bytes(MEGABYTE))
    storage = Storage(str(tmp_path))

    looks = [storage.is_over(MEGABYTE // 2) for _ in range(6)]

    assert any(looks[:3])
    assert looks.count(True) >= 2
    assert not all(looks)

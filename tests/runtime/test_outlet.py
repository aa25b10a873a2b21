"""The pipes of an environment: what was written before is there when it is asked for."""

import asyncio
import os
import struct
from collections.abc import Iterator

import pytest

from gateway.runtime.outlet import Outlet, pipe
from gateway.testing import FakeClock


@pytest.fixture
async def outlet() -> Iterator[Outlet]:  # type: ignore[misc]
    it = Outlet(asyncio.get_running_loop(), FakeClock(1_700_000_000.0))
    yield it
    it.close()


def frame(text: bytes, kind: int = 0xA55A0003) -> bytes:
    return struct.pack(">IIQ", kind, len(text), 1_700_000_000_000_000) + text


async def test_lines_and_records_are_collected_at_once(outlet: Outlet) -> None:
    os.write(outlet.output, b"one\ntw")
    os.write(outlet.log, frame(b"a\nb"))

    entries = outlet.collect()

    assert {entry.text for entry in entries} == {"one", "tw", "a\nb"}
    assert outlet.collect() == []


async def test_what_comes_later_is_the_next_ones(outlet: Outlet) -> None:
    os.write(outlet.output, b"one")
    first = outlet.collect()
    os.write(outlet.output, b"two\n")

    assert [entry.text for entry in first] == ["one"]
    assert [entry.text for entry in outlet.collect()] == ["two"]


async def test_a_function_that_writes_much_does_not_wait_for_a_collection(outlet: Outlet) -> None:
    data = (b"x" * 99 + b"\n") * 100_000
    written = await asyncio.to_thread(os.write, outlet.output, data)

    assert written == len(data)
    assert outlet.collect()


async def test_everything_is_closed_and_nothing_inherited() -> None:
    outlet = Outlet(asyncio.get_running_loop(), FakeClock())
    ends = (outlet.output, outlet.log)
    assert not any(os.get_inheritable(end) for end in ends)
    outlet.close()

    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_only_the_reading_end_does_not_block() -> None:
    reading, writing = pipe()
    try:
        assert (os.get_blocking(reading), os.get_blocking(writing)) == (False, True)
    finally:
        os.close(reading)
        os.close(writing)

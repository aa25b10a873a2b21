"""The pipes of an environment: what was written before is there when it is asked for."""

import asyncio
import errno
import os
import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from gateway.runtime import outlet as outlet_module
from gateway.runtime.outlet import Outlet, pipe
from gateway.testing import FakeClock
from tests.runtime.environments import descriptor_count


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


def failing(call: Callable[..., Any], at: int) -> Callable[..., Any]:
    """Return a call that fails the given time, counted from 1."""
    times = count(1)

    def maybe(*arguments: Any) -> Any:
        if next(times) == at:
            raise OSError(errno.EMFILE, "Too many open files")
        return call(*arguments)

    return maybe


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("what", ["pipe", "reader"])
async def test_an_outlet_that_cannot_be_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, what: str, at: int
) -> None:
    loop = asyncio.get_running_loop()
    if what == "pipe":
        monkeypatch.setattr(outlet_module, "pipe", failing(pipe, at))
    else:
        monkeypatch.setattr(loop, "add_reader", failing(loop.add_reader, at))
    before = descriptor_count()

    with pytest.raises(OSError, match="Too many"):
        Outlet(loop, FakeClock())

    assert descriptor_count() == before

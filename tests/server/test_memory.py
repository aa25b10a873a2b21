"""How a serving process keeps its memory."""

import asyncio
import ctypes
import gc
import platform
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.server import memory


@pytest.fixture
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("collector")
def test_collector_leaves_out_what_exists() -> None:
    memory.calm_collector()

    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == (memory.COLLECT_AFTER, memory.COLLECT_RARELY, 20)


class Later:
    """An event loop that only remembers what is to come."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self.calls.append((seconds, call, arguments))


class Library:
    """A C library, with or without `malloc_trim`."""

    def __init__(self, kept: list[int] | None) -> None:
        if kept is not None:
            self.malloc_trim = kept.append


def test_memory_is_given_back_now_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(kept))
    loop = Later()

    memory.give_back(loop)  # type: ignore[arg-type]
    [(seconds, call, arguments)] = loop.calls
    call(*arguments)

    assert seconds == memory.GIVE_BACK_SECONDS
    assert kept == [0, 0]
    assert len(loop.calls) == 2


def test_another_c_library_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(None))
    loop = Later()

    memory.give_back(loop)  # type: ignore[arg-type]

    assert loop.calls == []


def test_giving_back_works_with_the_real_one() -> None:
    async def give() -> int:
        loop: Any = asyncio.get_running_loop()
        memory.give_back(loop)
        return len(loop._scheduled)

    assert asyncio.run(give()) == (platform.libc_ver()[0] == "glibc")


class Tunable:
    """A C library with `mallopt`, which notes what it is told."""

    def __init__(self) -> None:
        self.options: list[tuple[int, int]] = []

    def mallopt(self, option: int, value: int) -> None:
        self.options.append((option, value))


def test_threads_share_one_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Tunable()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)

    memory.keep_one_heap()

    assert library.options == [(memory.M_ARENA_MAX, 1)]


def test_library_without_heaps_to_share_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library(None))

    memory.keep_one_heap()

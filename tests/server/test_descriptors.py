"""What a number of descriptors leaves room for."""

import errno
import os
import resource
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.core.errors import InvalidSetting
from gateway.core.limits import Limits
from gateway.server import descriptors
from gateway.server.descriptors import Use, fit, raise_limit

LIMITS = Limits()
NONE = Use("threads", 0, 4)


def fitted(allowed: int, limits: Limits = LIMITS, *, one: bool = False) -> tuple[int, int, str]:
    found, line = fit(limits, allowed, [NONE], is_one_address=one)
    return found.connections, found.connections_per_address, line


@pytest.mark.parametrize("allowed", [10_096, 1_000_000, resource.RLIM_INFINITY])
def test_enough_descriptors_change_nothing(allowed: int) -> None:
    assert fitted(allowed) == (10_000, 1_000, "")


def test_connections_get_what_is_left_and_an_address_a_quarter() -> None:
    line = "connections: 928, 232 of one address; 1,024 descriptors (ulimit -n)"
    assert fitted(1024) == (928, 232, line)
    assert fitted(8096)[:2] == (8000, 1000)


def test_only_address_there_is_gets_all() -> None:
    assert fitted(1024, one=True)[:2] == (928, 928)


def test_limit_of_an_address_that_was_asked_for_is_kept() -> None:
    assert fitted(1024, replace(LIMITS, connections_per_address=500))[:2] == (928, 500)
    assert fitted(1024, replace(LIMITS, connections_per_address=5000))[:2] == (928, 928)


def test_what_was_asked_for_must_fit() -> None:
    asked = replace(LIMITS, connections=2000)
    assert fitted(2096, asked) == (2000, 1000, "")
    with pytest.raises(InvalidSetting, match=r"0 threads x 4 and 2,000 connections are 2,096"):
        fitted(2095, asked)
    with pytest.raises(InvalidSetting, match="32 connections are 128"):
        fitted(127)


def test_soft_limit_is_the_hard_one() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
        assert raise_limit() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_shortage_is_said_once_and_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(["", "Too many open files", "Too many open files", ""])
    monkeypatch.setattr(descriptors, "shortage", lambda: next(states))
    said: list[str] = []
    later: list[Callable[[], None]] = []

    class Loop:
        def call_later(self, _seconds: float, callback: Callable[[], None]) -> None:
            later.append(callback)

    descriptors.watch(Loop(), said.append)  # type: ignore[arg-type]
    for _ in range(3):
        later.pop()()

    closed = "new connections are closed until a descriptor is free"
    assert said == [f"Too many open files: {closed}", "descriptors are free again"]


def test_shortage_is_that_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number in (0, errno.EMFILE, errno.ENFILE, errno.EACCES):

        def opened(_path: str, _flags: int, number: int = number) -> int:
            if number:
                raise OSError(number, os.strerror(number))
            return os.dup(0)

        with monkeypatch.context() as patched:
            patched.setattr(os, "open", opened)
            found.append(descriptors.shortage())

    assert found == ["", os.strerror(errno.EMFILE), os.strerror(errno.ENFILE), ""]

"""A room to attack: environments of the whole command, as this user and as one without rights."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.process.rooms import EXECUTED, FORKED, SELF, UNPRIVILEGED, Attacked, attacked
from tests.runtime.launching import abilities, need_room
from tests.soaking import IS_SOAK

WAYS = [(user, how) for user in (SELF, UNPRIVILEGED) for how in (FORKED, EXECUTED)]


TWO_WAYS = [WAYS[0], WAYS[-1]]
"""Each user and each way to start once."""


def named(way: tuple[str, tuple[str, ...]]) -> str:
    return f"{way[0]}-{'executed' if way[1] else 'forked'}"


@contextmanager
def filtered(user: str, how: tuple[str, ...]) -> Iterator[Attacked]:
    if sys.platform != "linux":
        pytest.skip("rooms need Linux")
    need_room()
    if not abilities().call_filter:
        pytest.skip("system calls cannot be filtered here")
    with attacked(user, *how) as found:
        yield found


@pytest.fixture(scope="module", params=WAYS if IS_SOAK else TWO_WAYS, ids=named)
def each_way(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    with filtered(*request.param) as found:
        yield found


@pytest.fixture(scope="module", params=TWO_WAYS, ids=named)
def each_user(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """Give an environment of each user, where it does not matter how its process starts."""
    with filtered(*request.param) as found:
        yield found


@pytest.fixture(params=["first", "reset"])
def room(request: pytest.FixtureRequest, each_way: Attacked) -> Attacked:
    """Give an environment with a fresh process, or one whose process entered an older room."""
    if request.param == "reset":
        each_way.probe("")
        each_way.reset()
    return each_way

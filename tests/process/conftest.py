"""A room to attack: environments of the whole command, as this user and as nobody."""

import sys
from collections.abc import Iterator

import pytest

from tests.process.rooms import EXECUTED, FORKED, NOBODY, SELF, Attacked, attacked
from tests.runtime.launching import abilities, need_room


@pytest.fixture(
    scope="module",
    params=[(user, how) for user in (SELF, NOBODY) for how in (FORKED, EXECUTED)],
    ids=lambda param: f"{param[0]}-{'executed' if param[1] else 'forked'}",
)
def attacked_server(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    if sys.platform != "linux":
        pytest.skip("rooms need Linux")
    need_room()
    if not abilities().call_filter:
        pytest.skip("system calls cannot be filtered here")
    user, how = request.param
    with attacked(user, *how) as found:
        yield found


@pytest.fixture(params=["first", "reset"])
def room(request: pytest.FixtureRequest, attacked_server: Attacked) -> Attacked:
    """Give an environment with a fresh process, or one whose process entered an older room."""
    if request.param == "reset":
        attacked_server.probe("")
        attacked_server.reset()
    return attacked_server

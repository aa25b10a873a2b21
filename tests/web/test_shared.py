"""The front has everything that its connections are promised."""

from gateway.core.desync import Mode
from gateway.core.limits import Limits
from gateway.core.pages import Pages
from gateway.testing import FakeClock
from gateway.web.front import Front
from gateway.web.shared import Shared
from tests.web.peer import LISTENER


class NoConnection:
    """A Responder that is never asked."""


def test_front_has_all_that_connections_share() -> None:
    front = Front(
        NoConnection(),  # type: ignore[arg-type]
        listener=LISTENER,
        pages=Pages(),
        sink=None,
        clock=FakeClock(),
        draw="0".__mul__,
        limits=Limits(),
        mode=Mode.DEFENSIVE,
        at_once=1000,
    )

    promised = {name for name in dir(Shared) if not name.startswith("_")}
    promised |= Shared.__annotations__.keys()

    assert len(promised) > 10
    assert [name for name in sorted(promised) if not hasattr(front, name)] == []

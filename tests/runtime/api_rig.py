"""A Runtime API whose platform is the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.core.environment import Refused
from gateway.core.http import Headers
from gateway.runtime.api import RuntimeApiServer
from gateway.runtime.api_guard import Guard
from gateway.runtime.api_routes import Answer, Event, Poll, Posted
from gateway.runtime.peers import Sight
from gateway.runtime.process import Members
from tests.runtime.api_client import Client, connected

EVENT = Event(b"Content-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: a\r\n", b'{"a":1}')
OK = b'{"status":"OK"}\n'
TRAILERS = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"


class Fake:
    """A Platform that keeps what it is told; `refusal` is raised by every answer."""

    def __init__(self, event: Event | None = EVENT) -> None:
        self.event = event
        self.connections: list[Poll] = []
        self.responses: list[tuple[str, Posted]] = []
        self.errors: list[tuple[str, Posted]] = []
        self.init_errors: list[Posted] = []
        self.truncations: list[str] = []
        self.imports: list[list[str]] = []
        self.lost: list[Poll] = []
        self.checked: list[Answer] = []
        self.refusal: Refused | None = None

    def polled(self, poll: Poll, /) -> None:
        self._refuse()
        self.connections.append(poll)
        if self.event is not None:
            poll.deliver(self.event)

    def check(self, answer: Answer, headers: Headers, /) -> None:
        self.checked.append(answer)
        self._refuse()

    def responded(self, request_id: str, posted: Posted, /) -> None:
        self.responses.append((request_id, posted))
        self._refuse()

    def errored(self, request_id: str, posted: Posted, /) -> None:
        self._refuse()
        self.errors.append((request_id, posted))

    def init_errored(self, posted: Posted, /) -> None:
        self._refuse()
        self.init_errors.append(posted)

    def truncated(self, request_id: str, /) -> None:
        self.truncations.append(request_id)

    def imported(self, names: list[str], /) -> None:
        self.imports.append(names)

    def disconnected(self, poll: Poll, /) -> None:
        self.lost.append(poll)

    @property
    def told(self) -> list[object]:
        return [*self.connections, *self.checked, *self.responses, *self.errors, *self.init_errors]

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal


def unguarded() -> Guard:
    return Guard(Sight.NOTHING, lambda: Members(0))


@asynccontextmanager
async def served(platform: Fake) -> AsyncIterator[RuntimeApiServer]:
    server = RuntimeApiServer(platform, unguarded())
    await server.start()
    try:
        yield server
    finally:
        server.close()
        await server.emptied()


@asynccontextmanager
async def talking(platform: Fake) -> AsyncIterator[Client]:
    async with served(platform) as server, connected(server.address) as client:
        yield client

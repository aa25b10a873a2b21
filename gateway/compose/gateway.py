"""A document into a running gateway: its functions, the service in front of them, and a responder
for each listener."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from gateway.compose.functions import invokable
from gateway.compose.listener import address, responder
from gateway.compose.running import RunningFunction
from gateway.config.document import Document, check
from gateway.config.listener import Listener
from gateway.core.errors import InvalidSetting
from gateway.core.interfaces import Clock, Responder, Sink
from gateway.core.listener import ListenerAddress
from gateway.functions.service import FunctionService
from gateway.telemetry.system import CLOCK


@dataclass(frozen=True, slots=True)
class Gateway:
    """What runs of a document."""

    document: Document
    functions: dict[str, RunningFunction]
    """By name."""
    invoker: FunctionService
    addresses: dict[Listener, ListenerAddress]
    """What events call each listener."""
    responders: dict[Listener, Responder]
    """By listener; its port is the one that clients see."""

    @property
    def said(self) -> str:
        """What the operator is told of the functions, each line once."""
        lines = (line for one in self.functions.values() for line in one.said.splitlines())
        return "\n".join(dict.fromkeys(lines))

    async def reload(self, document: Document) -> list[str]:
        """Take in files that have changed, and functions that are configured differently; returns
        what went wrong with each, and then the code before it goes on serving.

        Raises InvalidSetting for a document with other listeners, target groups or function names.
        """
        check(document)
        if _fixed(document) != _fixed(self.document):
            raise InvalidSetting(
                "listeners, target groups and the names of functions are read at the start; restart"
            )
        reloads = [
            await running.reload(document.function(name))
            for name, running in self.functions.items()
            if running.reload is not None
        ]
        return [failure for failure in reloads if failure]


def _fixed(document: Document) -> object:
    """Return what a reload cannot change."""
    names = [(one.completed_name(), one.execution) for one in document.functions]
    return document.listeners, document.target_groups, names, document.process


@asynccontextmanager
async def gateway(
    document: Document, *, sink: Sink | None, clock: Clock = CLOCK
) -> AsyncIterator[Gateway]:
    """Run the functions of a document; the ports of its listeners are those that clients see.

    Raises InvalidSetting for settings that do not fit together, and for a function that cannot be
    loaded.
    """
    check(document)
    async with AsyncExitStack() as stack:
        stack.enter_context(_unwrapped_settings())
        functions = {
            function.completed_name(): await stack.enter_async_context(
                invokable(document, function, sink)
            )
            for function in document.functions
        }
        service = FunctionService({name: one.invoker for name, one in functions.items()})
        addresses = {
            one: address(document, one, one.scheme, one.port) for one in document.listeners
        }
        responders = {
            one: responder(document, one, seen_as, service, clock)
            for one, seen_as in addresses.items()
        }
        yield Gateway(document, functions, service, addresses, responders)


@contextmanager
def _unwrapped_settings() -> Iterator[None]:
    """Raise an InvalidSetting as it is, not in the groups that TaskGroups make of it."""
    try:
        yield
    except ExceptionGroup as group:
        invalid: BaseException | None = group.subgroup(InvalidSetting)
        while isinstance(invalid, ExceptionGroup):
            invalid = invalid.exceptions[0]
        if invalid is None:
            raise
        raise invalid from group

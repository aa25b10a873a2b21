"""The one door to functions: every caller names a function and its qualifier, and the service
invokes the version that they mean."""

from collections.abc import Awaitable, Mapping

from gateway.core.errors import FunctionNotFound
from gateway.core.interfaces import Invoker
from gateway.core.invocation import LATEST, FunctionRef, Invocation, InvocationResult


class FunctionService:
    """An Invoker that resolves the function that an invocation names and passes it on.

    Of a function there is one version, `$LATEST`. Its invoker takes the lease of the version before
    anything else (`gateway.invokers.wrappers.ConcurrencyCap`), unless it is limited by its own
    threads or emulators.
    """

    def __init__(self, invokers: Mapping[str, Invoker]) -> None:
        """Take the invokers by function name."""
        self._versions = {
            (name, qualifier): invoker
            for name, invoker in invokers.items()
            for qualifier in ("", LATEST)
        }

    def invoke(self, invocation: Invocation, /) -> Awaitable[InvocationResult]:
        """Run the version; raises FunctionNotFound, and what its invoker raises."""
        return self.resolve(invocation.function).invoke(invocation)

    def resolve(self, reference: FunctionRef) -> Invoker:
        """Return the invoker of a version; raises FunctionNotFound with Lambda's text
        (lambda.md 3.3)."""
        invoker = self._versions.get((reference.name, reference.qualifier))
        if invoker is None:
            raise FunctionNotFound(f"Function not found: {_qualified(reference)}")
        return invoker


def _qualified(reference: FunctionRef) -> str:
    """Return the ARN, or without one the name, followed by the qualifier."""
    named, qualifier = reference.arn or reference.name, reference.qualifier or LATEST
    is_qualified = named.endswith(f":{reference.name}:{qualifier}")
    return named if is_qualified else f"{named}:{qualifier}"

"""A function that can be invoked, wherever it runs."""

from dataclasses import dataclass

from gateway.compose.reloads import Reload
from gateway.core.interfaces import Invoker


@dataclass(frozen=True, slots=True)
class RunningFunction:
    """An Invoker, and what the server around it needs to know."""

    invoker: Invoker
    said: str
    """How isolated the function is, or where it runs; for the operator."""
    reload: Reload | None = None
    """Takes in what has changed on the disk; None for a function elsewhere."""

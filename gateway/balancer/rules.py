"""A Responder around Responders: the rules of a listener, by ascending priority, and its default
action."""

import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from gateway.core.http import HttpRequest, HttpResponse
from gateway.core.interfaces import Responder
from gateway.core.rules import PathPattern, normalised


@dataclass(frozen=True, slots=True)
class PreparedRule:
    """A rule with the Responder of its action, which answers the requests that its condition
    matches."""

    priority: int
    condition: PathPattern
    action: Responder


class Rules:
    """Hands a request to the action of the first rule that matches, else to the default action."""

    def __init__(self, rules: Sequence[PreparedRule], default: Responder) -> None:
        ascending = sorted(rules, key=lambda rule: rule.priority)
        self._rules: list[tuple[re.Pattern[bytes], Responder]] = [
            (rule.condition.compiled(), rule.action) for rule in ascending
        ]
        self._default = default

    def respond(self, request: HttpRequest, /) -> Awaitable[HttpResponse]:
        """Return the complete response."""
        path = normalised(request.raw_path)
        for pattern, action in self._rules:
            if pattern.fullmatch(path):
                return action.respond(request)
        return self._default.respond(request)
